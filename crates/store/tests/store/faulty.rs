//! A file system in memory that forgets what was not synced when it crashes, tears writes, and fails when told to.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_store::{File, Fs};

#[derive(Clone, Default)]
struct Content {
    /// What a crash leaves.
    synced: Vec<u8>,
    /// What the process sees.
    seen: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Disk {
    files: HashMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    next: u64,
    random: u64,
    /// Operations until everything fails as if the machine had stopped; `None` = never.
    pub(crate) stops_in: Option<u64>,
    /// Writes fail with "no space", after having written a part.
    pub(crate) full: bool,
    /// Syncs and cuts fail: the disk is sick.
    pub(crate) sick: bool,
    /// Files cannot be made.
    pub(crate) no_new_files: bool,
    /// Segments cannot be removed.
    pub(crate) no_removal: bool,
    /// How long names take to be on disk.
    pub(crate) names_take: Duration,
    /// Syncs panic, as a mistake in the program would.
    pub(crate) panics: bool,
}

#[derive(Clone, Default)]
pub(crate) struct FaultyFs(pub(crate) Arc<Mutex<Disk>>);

impl Disk {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn step(&mut self) -> io::Result<()> {
        match &mut self.stops_in {
            Some(0) => Err(io::Error::other("the machine stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn healthy_step(&mut self) -> io::Result<()> {
        self.step()?;
        if self.sick { Err(io::Error::other("the disk is sick")) } else { Ok(()) }
    }

    /// The machine stops and starts again. Of what was not synced, each block of each file may be there or not.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.random = seed;
        self.names = self.synced_names.clone();
        let ids: Vec<u64> = self.files.keys().copied().collect();
        for id in ids {
            let mut content = self.files.remove(&id).unwrap();
            let (old, new) = (content.synced.clone(), content.seen.clone());
            let len = if self.random().is_multiple_of(2) {
                new.len()
            } else {
                old.len() + (self.random() as usize) % (new.len().saturating_sub(old.len()) + 1)
            };
            let mut after = vec![0; len];
            for (block, chunk) in after.chunks_mut(512).enumerate() {
                let at = block * 512;
                let source = if self.random().is_multiple_of(2) { &old } else { &new };
                let from = source.get(at..).unwrap_or_default();
                let n = from.len().min(chunk.len());
                chunk[..n].copy_from_slice(&from[..n]);
                // What was synced and not overwritten since is there in any case.
                let same = old.get(at..).unwrap_or_default().iter().zip(new.get(at..).unwrap_or_default());
                for (i, (o, n)) in same.take(chunk.len()).enumerate() {
                    if o == n {
                        chunk[i] = *o;
                    }
                }
            }
            content.synced = after.clone();
            content.seen = after;
            self.files.insert(id, content);
        }
        self.stops_in = None;
        (self.full, self.sick, self.no_new_files, self.panics) = (false, false, false, false);
    }
}

struct Handle {
    fs: FaultyFs,
    id: u64,
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut Content) -> T) -> T {
        act(self.fs.0.lock().unwrap().files.get_mut(&self.id).expect("handles are of files that were made"))
    }
}

impl File for Handle {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let (stopped, full, part) = {
            let mut disk = self.fs.0.lock().unwrap();
            let part = disk.random() as usize % (bytes.len() + 1);
            (disk.step().is_err(), disk.full, part)
        };
        let written = if stopped || full { &bytes[..part] } else { bytes };
        self.with(|content| {
            let end = position as usize + written.len();
            if content.seen.len() < end {
                content.seen.resize(end, 0);
            }
            content.seen[position as usize..end].copy_from_slice(written);
        });
        match (stopped, full) {
            (true, _) => Err(io::Error::other("the machine stopped")),
            (_, true) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|content| {
            let from = content.seen.get(position as usize..).unwrap_or_default();
            let n = from.len().min(buffer.len());
            buffer[..n].copy_from_slice(&from[..n]);
            Ok(n)
        })
    }

    fn sync(&self) -> io::Result<()> {
        let panics = {
            let mut disk = self.fs.0.lock().unwrap();
            disk.healthy_step()?;
            disk.panics
        };
        assert!(!panics, "a mistake in the program");
        self.with(|content| content.synced = content.seen.clone());
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.0.lock().unwrap().healthy_step()?;
        self.with(|content| content.seen.resize(len as usize, 0));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|content| Ok(content.seen.len() as u64))
    }
}

impl Fs for FaultyFs {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        let id = match disk.names.get(path) {
            Some(id) => *id,
            None if !create => return Err(io::ErrorKind::NotFound.into()),
            None => {
                disk.next += 1;
                let id = disk.next;
                disk.files.insert(id, Content::default());
                disk.names.insert(path.to_owned(), id);
                id
            }
        };
        let refused = create && disk.no_new_files;
        drop(disk);
        // The name may be there already when the rest fails.
        if refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(Box::new(Handle { fs: self.clone(), id })) }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let disk = self.0.lock().unwrap();
        let inside = disk.names.keys().filter(|p| p.parent() == Some(directory));
        Ok(inside.map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        if disk.no_removal && path.extension().is_some_and(|e| e == "log") {
            return Err(io::Error::other("nothing can be removed"));
        }
        disk.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        let id = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let takes = self.0.lock().unwrap().names_take;
        std::thread::sleep(takes);
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        disk.synced_names = disk.names.clone();
        Ok(())
    }
}
