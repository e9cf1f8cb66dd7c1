//! Numbers below a limit, each lent to one owner at a time: what many share is counted in places of a table.

use std::collections::BTreeMap;

/// Who has which.
#[derive(Debug)]
pub struct Places {
    first: u32,
    /// Behind the last one.
    end: u32,
    lent: BTreeMap<u32, u32>,
}

impl Places {
    /// Those from `first` to before `end`, all free.
    pub fn new(first: u32, end: u32) -> Self {
        Self { first, end, lent: BTreeMap::new() }
    }

    /// The one that this owner has, or else the lowest that is free, if there is one.
    pub fn take(&mut self, owner: u32) -> Option<u32> {
        if let Some(place) = self.of(owner) {
            return Some(place);
        }
        let mut lent: Vec<_> = self.lent.values().copied().collect();
        lent.sort_unstable();
        let free = (self.first..self.end).zip(lent.into_iter().map(Some).chain(std::iter::repeat(None)));
        let (place, _) = free.into_iter().find(|(place, lent)| Some(*place) != *lent)?;
        self.lent.insert(owner, place);
        Some(place)
    }

    /// An owner has none any more. Returns the one that it had.
    pub fn free(&mut self, owner: u32) -> Option<u32> {
        self.lent.remove(&owner)
    }

    /// Takes from owners what they are not to keep.
    pub fn retain(&mut self, mut keep: impl FnMut(u32, u32) -> bool) {
        self.lent.retain(|&owner, &mut place| keep(owner, place));
    }

    /// The one that an owner has.
    pub fn of(&self, owner: u32) -> Option<u32> {
        self.lent.get(&owner).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_that_is_free_is_lent_and_none_twice() {
        let mut places = Places::new(1, 4);
        assert_eq!(
            [7, 5, 7, 9, 8].map(|owner| places.take(owner)),
            [Some(1), Some(2), Some(1), Some(3), None]
        );
        assert_eq!((places.of(5), places.of(8)), (Some(2), None));
        assert_eq!((places.free(5), places.free(5)), (Some(2), None));
        assert_eq!([8, 5].map(|owner| places.take(owner)), [Some(2), None]);
        places.retain(|owner, place| owner == 8 && place == 2);
        assert_eq!([1, 2, 3].map(|owner| places.take(owner)), [Some(1), Some(3), None]);
    }
}
