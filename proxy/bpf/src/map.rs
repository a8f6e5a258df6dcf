//! A pinned map with its key and value types.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use orlop_ebpf::Plain;

use crate::{Error, sys};

/// A map of the ABI. The pin's path carries the ABI's hash, which is the proof that the types are right.
#[derive(Debug)]
pub struct Map<K, V> {
    name: &'static str,
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Map<K, V> {
    /// Opens the map pinned in `directory` under its name.
    pub fn open(directory: &Path, name: &'static str) -> Result<Self, Error> {
        let path = directory.join(name);
        let fd = sys::open_pin(&path).map_err(Error::file(path))?;
        Ok(Self { name, fd, types: PhantomData })
    }

    /// The kernel's handle of it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads one element.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        sys::lookup(self.fd.as_fd(), key).map_err(Error::bpf(format!("read map {}", self.name)))
    }

    /// Sets elements.
    pub fn update(&self, elements: &[(K, V)]) -> Result<(), Error> {
        match elements {
            [] => Ok(()),
            [(key, value)] => sys::update(self.fd.as_fd(), key, value),
            many => {
                let (keys, values): (Vec<K>, Vec<V>) = many.iter().copied().unzip();
                sys::update_batch(self.fd.as_fd(), &keys, &values)
            }
        }
        .map_err(Error::bpf(format!("update map {}", self.name)))
    }

    /// Sets elements one by one: for the kinds of map that know no batches.
    pub fn update_each(&self, elements: &[(K, V)]) -> Result<(), Error> {
        elements.iter().try_for_each(|element| self.update(std::slice::from_ref(element)))
    }

    /// Removes elements; those that are not there are fine.
    pub fn delete(&self, keys: &[K]) -> Result<(), Error> {
        let mut rest = keys;
        while !rest.is_empty() {
            let done = match rest {
                [key] => sys::delete(self.fd.as_fd(), key).map(|_| 1),
                many => sys::delete_batch(self.fd.as_fd(), many).map(|deleted| deleted + 1),
            }
            .map_err(Error::bpf(format!("delete from map {}", self.name)))?;
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// Removes elements one by one.
    pub fn delete_each(&self, keys: &[K]) -> Result<(), Error> {
        keys.iter().try_for_each(|key| self.delete(std::slice::from_ref(key)))
    }

    /// Every element.
    pub fn dump(&self) -> Result<Vec<(K, V)>, Error> {
        self.dump_if(|_, _| true)
    }

    /// Every element that is wanted.
    pub fn dump_if(&self, wanted: impl FnMut(&K, &V) -> bool) -> Result<Vec<(K, V)>, Error> {
        sys::dump(self.fd.as_fd(), wanted).map_err(Error::bpf(format!("list map {}", self.name)))
    }
}
