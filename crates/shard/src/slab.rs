//! Values at stable small places, with generations that tell a place's value from an earlier one.

/// Index, and the generation of the value that is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Place {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of what to_u64 joined")]
    pub(crate) fn from_u64(v: u64) -> Self {
        Self { index: v as u32, generation: (v >> 32) as u32 }
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Where the next value will be put.
    pub(crate) fn next_place(&self) -> Place {
        match self.free.last() {
            Some(&index) => Place { index, generation: self.slots[index as usize].generation },
            None => Place { index: u32::try_from(self.slots.len()).expect("fewer than 2^32 sockets"), generation: 0 },
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Place {
        let place = self.next_place();
        if self.free.pop().is_some() {
            self.slots[place.index as usize].value = Some(value);
        } else {
            self.slots.push(Slot { generation: 0, value: Some(value) });
        }
        place
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1) & 0x7fff_ffff;
        self.free.push(index);
        Some(value)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// Whether the value that was at this place is still there.
    pub(crate) fn is_at(&self, place: Place) -> bool {
        self.slots.get(place.index as usize).is_some_and(|s| s.generation == place.generation && s.value.is_some())
    }

    /// The place of a value that is there.
    pub(crate) fn place(&self, index: u32) -> Place {
        Place { index, generation: self.slots.get(index as usize).map_or(0, |s| s.generation) }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Indices of all values.
    pub(crate) fn indices(&self) -> Vec<u32> {
        let taken = self.slots.iter().enumerate().filter(|(_, s)| s.value.is_some());
        taken.filter_map(|(i, _)| u32::try_from(i).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_place_is_told_from_the_earlier_value() {
        let mut slab = Slab::new();
        let a = slab.insert('a');
        assert_eq!(slab.next_place().index, 1);
        assert_eq!(slab.remove(a.index), Some('a'));
        let b = slab.insert('b');
        assert_eq!(a.index, b.index);
        assert!(!slab.is_at(a) && slab.is_at(b));
        assert_eq!(Place::from_u64(b.to_u64()), b);
        assert_eq!((slab.len(), slab.indices()), (1, vec![0]));
    }
}
