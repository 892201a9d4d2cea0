//! Things that are lent, and made anew where none is left: as many as are in use at the same time.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use super::lock;

/// Lends each thing to one at a time.
#[derive(Default)]
pub(super) struct Pool<T>(Mutex<Vec<T>>);

impl<T: Default> Pool<T> {
    pub(super) fn lend(&self) -> Lent<'_, T> {
        Lent { thing: lock(&self.0).pop().unwrap_or_default(), pool: self }
    }

    /// Lets go of all that is not lent.
    pub(super) fn clear(&self) {
        *lock(&self.0) = Vec::new();
    }
}

/// One of them, which goes back when it is dropped.
pub(super) struct Lent<'a, T: Default> {
    thing: T,
    pool: &'a Pool<T>,
}

impl<T: Default> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

impl<T: Default> DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.thing
    }
}

impl<T: Default> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        lock(&self.pool.0).push(std::mem::take(&mut self.thing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_were_lent_at_the_same_time() {
        let pool = Pool::<Vec<u8>>::default();
        for round in 0..3 {
            let (mut one, mut other) = (pool.lend(), pool.lend());
            assert_eq!((one.len(), other.len()), (round, round), "each has what it was given before");
            one.push(1);
            other.push(2);
        }
        assert_eq!(lock(&pool.0).len(), 2);
        pool.clear();
        assert_eq!(pool.lend().len(), 0, "nothing is left of what there was");
    }
}
