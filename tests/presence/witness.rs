//! What somebody who is told of joins and leaves makes of them.
//!
//! A user who comes back in time takes the place of a client of theirs, and nobody is told: so a client that leaves may
//! never have joined, but then another of the same user did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};

use crate::connection::{Info, Told};

/// Who is in which room.
pub(crate) type Rooms = BTreeMap<String, BTreeSet<Info>>;

/// Keeps count. Cloning it is cheap and shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Clients by room and user.
    there: BTreeMap<(String, String), Vec<String>>,
    changes: u64,
    complaints: Vec<String>,
}

impl Witness {
    /// Begins with those who are there.
    pub(crate) fn new(rooms: &Rooms) -> Self {
        let mut state = State::default();
        for (room, infos) in rooms {
            for info in infos {
                state.there.entry((room.clone(), info.user.clone())).or_default().push(info.client.clone());
            }
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// For the connection that it listens on.
    pub(crate) fn told(&self) -> Told {
        let witness = self.clone();
        Arc::new(move |joined, room, info| {
            witness.0.lock().unwrap_or_else(PoisonError::into_inner).told(joined, room, info)
        })
    }

    /// Joins and leaves so far.
    pub(crate) fn changes(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// Fails with what cannot be.
    pub(crate) fn check(&self) -> Result<()> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(state.complaints.is_empty(), "joins and leaves contradict each other: {}", state.complaints.join("; "));
        Ok(())
    }

    /// Fails when those who joined and did not leave are others than those who are there.
    pub(crate) fn agrees(&self, rooms: &Rooms) -> Result<()> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = BTreeMap::<(&str, &str), usize>::new();
        for (room, info) in rooms.iter().flat_map(|(room, infos)| infos.iter().map(move |info| (room, info))) {
            *due.entry((room, &info.user)).or_default() += 1;
        }
        for ((room, user), clients) in &state.there {
            let due = due.remove(&(&**room, &**user)).unwrap_or_default();
            let told = clients.len();
            ensure!(told == due, "by joins and leaves {user} is {told} times in {room}, in truth {due} times");
        }
        ensure!(due.is_empty(), "joins that were not told: {due:?}");
        Ok(())
    }
}

impl State {
    fn told(&mut self, joined: bool, room: &str, info: &Info) {
        self.changes += 1;
        let clients = self.there.entry((room.to_owned(), info.user.clone())).or_default();
        let known = clients.iter().position(|client| *client == info.client);
        match (joined, known) {
            (true, None) => clients.push(info.client.clone()),
            (true, Some(_)) => self.complaints.push(format!("{info:?} joined {room} twice")),
            (false, Some(at)) => drop(clients.swap_remove(at)),
            (false, None) if clients.pop().is_none() => {
                self.complaints.push(format!("{info:?} left {room} without a join"));
            }
            (false, None) => {}
        }
    }
}
