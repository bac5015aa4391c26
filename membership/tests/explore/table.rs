//! Values by number: states that are told apart by small numbers are small, and what was computed once is known.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

/// The number of a value in its table.
pub(crate) type Id = u32;

/// Each value once.
#[derive(Debug)]
pub(crate) struct Table<T> {
    inner: RwLock<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    ids: HashMap<Arc<T>, Id>,
    values: Vec<Arc<T>>,
}

impl<T: Eq + Hash> Table<T> {
    pub(crate) fn new() -> Self {
        Self { inner: RwLock::new(Inner { ids: HashMap::new(), values: Vec::new() }) }
    }

    pub(crate) fn id(&self, value: T) -> Id {
        let mut inner = self.inner.write().expect("no thread has failed");
        if let Some(id) = inner.ids.get(&value) {
            return *id;
        }
        let (id, value) = (inner.values.len() as Id, Arc::new(value));
        inner.values.push(Arc::clone(&value));
        inner.ids.insert(value, id);
        id
    }

    pub(crate) fn get(&self, id: Id) -> Arc<T> {
        Arc::clone(&self.inner.read().expect("no thread has failed").values[id as usize])
    }

    pub(crate) fn count(&self) -> usize {
        self.inner.read().expect("no thread has failed").values.len()
    }
}
