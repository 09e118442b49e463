//! A fixed number of numbered places; a stale number is told from the place's present content.

/// Names one stay in one place: place in the low 24 bits, generation above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// Most places of one slab.
pub const MAX_PLACES: usize = 1 << 24;
const PLACE_BITS: u32 = 24;
const GENERATION_MASK: u64 = (1 << 24) - 1;

impl Key {
    /// The key as a number below 2^48.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// From [`Key::raw`].
    pub fn from_raw(raw: u64) -> Self {
        Self(raw & ((1 << 48) - 1))
    }

    /// Number of the place.
    pub fn place(self) -> usize {
        usize::try_from(self.0 & ((1 << PLACE_BITS) - 1)).unwrap_or(usize::MAX)
    }

    /// How often the place was given away before.
    pub fn generation(self) -> u64 {
        self.0 >> PLACE_BITS
    }
}

#[derive(Debug)]
struct Place<T> {
    generation: u64,
    content: Option<T>,
}

/// The places. All memory is allocated by [`Slab::new`].
#[derive(Debug)]
pub struct Slab<T> {
    places: Box<[Place<T>]>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// `capacity` empty places, at most [`MAX_PLACES`].
    pub fn new(capacity: usize) -> Self {
        assert!(capacity <= MAX_PLACES, "too many places");
        let places = (0..capacity).map(|_| Place { generation: 0, content: None }).collect();
        let free = (0..u32::try_from(capacity).unwrap_or(0)).rev().collect();
        Self { places, free }
    }

    /// Whether another value fits.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many more values fit.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value in a free place.
    ///
    /// # Errors
    /// Gives it back when there is none.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        let Some(index) = self.free.pop() else { return Err(value) };
        let Some(place) = self.places.get_mut(index as usize) else { return Err(value) };
        place.content = Some(value);
        Ok(Key(place.generation << PLACE_BITS | u64::from(index)))
    }

    /// The value, unless the key is stale.
    pub fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.place()).filter(|p| p.generation == key.generation())?;
        place.content.as_ref()
    }

    /// The value, unless the key is stale.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.place()).filter(|p| p.generation == key.generation())?;
        place.content.as_mut()
    }

    /// Takes the value out; its key is stale from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.place()).filter(|p| p.generation == key.generation())?;
        let value = place.content.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(u32::try_from(key.place()).unwrap_or(0));
        Some(value)
    }

    /// Key of the value in a place.
    pub fn key_of_place(&self, place: usize) -> Option<Key> {
        let found = self.places.get(place).filter(|p| p.content.is_some())?;
        Some(Key(found.generation << PLACE_BITS | place as u64))
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|p| p.content.as_ref())
    }

    /// Key of the first value that fits.
    pub fn find(&self, fits: impl Fn(&T) -> bool) -> Option<Key> {
        let place = self.places.iter().position(|p| p.content.as_ref().is_some_and(&fits))?;
        self.key_of_place(place)
    }

    /// Keys of all values.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, p)| p.content.is_some())
            .map(|(index, place)| Key(place.generation << PLACE_BITS | index as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_when_its_place_is_used_again() {
        let mut slab = Slab::new(1);
        let old = slab.insert('a').unwrap();
        assert_eq!(slab.insert('b'), Err('b'));
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('c').unwrap();
        assert_eq!(new.place(), old.place());
        assert_eq!((slab.get(old), slab.get(new)), (None, Some(&'c')));
        assert_eq!(slab.remove(old), None);
        assert_eq!(Key::from_raw(new.raw()), new);
        assert_eq!(slab.keys().collect::<Vec<_>>(), [new]);
    }
}
