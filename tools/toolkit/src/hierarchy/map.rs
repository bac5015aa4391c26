//! Which leaf group serves which key.

use crate::State;
use crate::join::{MAX_NAME, has_port};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Leaf groups of one root: its members look at all of them.
const MAX_LEAVES: usize = 256;
/// Places where somebody of one may be found, and bytes of each.
const MAX_SEEDS: usize = 16;
const MAX_SEED: usize = 100;
/// Bytes of a map as it is told: one reply to who asks.
const MAX_MAP: usize = 16_000;

/// A leaf group, as the root knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaf {
    /// Where somebody of it may be found, as [`JoinOptions::seeds`](crate::JoinOptions::seeds) has it. Without any it is found by its name.
    pub seeds: Vec<String>,
    /// Somebody of it is in sight, and it can go on.
    pub is_up: bool,
}

/// The leaf groups of a root: the same at all of its members, and a copy of it at each who asks by it.
///
/// A key belongs to the leaf that is up and weighs the most for it (*rendezvous hashing*, Thaler and Ravishankar 1998): when one comes or goes, only
/// its own keys move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeafMap {
    /// Which life of the root it is of: another one begins with a map that has none.
    life: u64,
    epoch: u64,
    leaves: BTreeMap<String, Leaf>,
}

/// Why a leaf group cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// There are as many as there can be.
    #[error("there are {MAX_LEAVES} leaf groups, and there cannot be more: remove one")]
    TooMany,
    /// The map would be too long to be told.
    #[error("the names and seeds of all leaf groups would take more than {MAX_MAP} bytes")]
    TooLong,
    /// Its name is empty or too long.
    #[error("the name of a leaf group has between 1 and {MAX_NAME} bytes")]
    Name,
    /// Its seeds are too many, or one is too long.
    #[error("a leaf group has at most {MAX_SEEDS} seeds, of at most {MAX_SEED} bytes")]
    Seeds,
    /// This seed names no port.
    #[error("{0} has no port: write host:port, with a port between 1 and 65535")]
    Port(String),
    /// It was found by its name and is to be found at seeds now, or the other way.
    #[error(
        "a leaf group that is found by its name cannot be moved to seeds, nor the other way: remove it first"
    )]
    Moved,
}

impl LeafMap {
    /// How often it has changed: of two of one life of the root the greater one is the later.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it is of the same life of the root as another one, and earlier.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        self.life == other.life && self.epoch < other.epoch
    }

    /// All leaf groups, by name.
    pub fn leaves(&self) -> impl Iterator<Item = (&str, &Leaf)> {
        self.leaves.iter().map(|(name, leaf)| (name.as_str(), leaf))
    }

    /// The leaf group of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Leaf> {
        self.leaves.get(name)
    }

    /// The leaf that `key` belongs to; `None` where none is up.
    #[must_use]
    pub fn locate(&self, key: &[u8]) -> Option<(&str, &Leaf)> {
        let weight = |name: &str| xxh3_64_with_seed(key, xxh3_64(name.as_bytes()));
        self.leaves().filter(|(_, leaf)| leaf.is_up).max_by_key(|(name, _)| (weight(name), *name))
    }

    /// Whether there can be such a leaf group.
    pub(super) fn check(name: &str, seeds: &[String]) -> Result<(), LeafError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(LeafError::Name);
        }
        if seeds.len() > MAX_SEEDS || seeds.iter().any(|seed| seed.len() > MAX_SEED) {
            return Err(LeafError::Seeds);
        }
        match seeds.iter().find(|seed| !has_port(seed)) {
            Some(seed) => Err(LeafError::Port(seed.clone())),
            None => Ok(()),
        }
    }

    /// Adds a leaf group, that is not up yet, or says where else one may be found. A map that was empty is of this `life` from now on.
    ///
    /// # Errors
    /// When it cannot be one: then nothing has changed.
    pub(super) fn add(&mut self, life: u64, name: &str, seeds: Vec<String>) -> Result<(), LeafError> {
        Self::check(name, &seeds)?;
        let known = self.leaves.get(name);
        if known.is_some_and(|known| known.seeds.is_empty() != seeds.is_empty()) {
            return Err(LeafError::Moved);
        }
        if self.leaves.len() >= MAX_LEAVES && known.is_none() {
            return Err(LeafError::TooMany);
        }
        let leaf = Leaf { seeds, is_up: known.is_some_and(|known| known.is_up) };
        let others = self.leaves().filter(|(known, _)| *known != name);
        if HEAD + leaf_len(name, &leaf) + others.map(|(name, leaf)| leaf_len(name, leaf)).sum::<usize>()
            > MAX_MAP
        {
            return Err(LeafError::TooLong);
        }
        if self.epoch == 0 {
            self.life = life;
        }
        self.leaves.insert(name.to_owned(), leaf);
        self.epoch += 1;
        Ok(())
    }

    /// Forgets a leaf group; false where there is none of that name.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let was_there = self.leaves.remove(name).is_some();
        self.epoch += u64::from(was_there);
        was_there
    }

    /// Whether one is up has changed, or is the same; true where it has.
    pub(super) fn set_up(&mut self, name: &str, is_up: bool) -> bool {
        let Some(leaf) = self.leaves.get_mut(name).filter(|leaf| leaf.is_up != is_up) else { return false };
        leaf.is_up = is_up;
        self.epoch += 1;
        true
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// `None` for bytes that are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (life, bytes) = bytes.split_first_chunk()?;
        let (epoch, bytes) = bytes.split_first_chunk()?;
        let (count, mut bytes) = bytes.split_first_chunk()?;
        let (life, epoch) = (u64::from_le_bytes(*life), u64::from_le_bytes(*epoch));
        let mut map = Self { life, epoch, ..Self::default() };
        let count = usize::from(u16::from_le_bytes(*count));
        if count > MAX_LEAVES {
            return None;
        }
        for _ in 0..count {
            let (&state, rest) = bytes.split_first()?;
            let (name, rest) = read_text(rest)?;
            let (&seeds, mut rest) = rest.split_first()?;
            let mut leaf = Leaf { seeds: Vec::new(), is_up: state == UP };
            for _ in 0..seeds {
                let (seed, behind) = read_text(rest)?;
                leaf.seeds.push(seed.to_owned());
                rest = behind;
            }
            if state > UP || map.leaves.insert(name.to_owned(), leaf).is_some() {
                return None;
            }
            bytes = rest;
        }
        bytes.is_empty().then_some(map)
    }
}

/// `life u64 | epoch u64 | leaves u16 | (state u8 | text | seeds u8 | text*)*`; `text := length u8 | bytes`. Little-endian.
impl State for LeafMap {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.life.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&(self.leaves.len() as u16).to_le_bytes());
        for (name, leaf) in &self.leaves {
            out.push(if leaf.is_up { UP } else { DOWN });
            write_text(name, out);
            out.push(leaf.seeds.len() as u8);
            leaf.seeds.iter().for_each(|seed| write_text(seed, out));
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        *self = Self::decode(bytes).ok_or("it is no map of leaf groups")?;
        Ok(())
    }
}

const DOWN: u8 = 0;
const UP: u8 = 1;

/// Bytes of a map without leaves, and of one of them.
const HEAD: usize = 8 + 8 + 2;

fn leaf_len(name: &str, leaf: &Leaf) -> usize {
    3 + name.len() + leaf.seeds.iter().map(|seed| 1 + seed.len()).sum::<usize>()
}

/// A short text, with its length before it.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// Such a text, and what is behind it.
pub(super) fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&len, bytes) = bytes.split_first()?;
    let (text, rest) = bytes.split_at_checked(usize::from(len))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(leaves: &[&str]) -> LeafMap {
        let mut map = LeafMap::default();
        for name in leaves {
            map.add(7, name, vec!["127.0.0.1:9".to_owned()]).expect("a leaf");
            map.set_up(name, true);
        }
        map
    }

    fn owner(map: &LeafMap, key: u32) -> &str {
        map.locate(&key.to_le_bytes()).expect("one is up").0
    }

    const NAMES: [&str; 5] = ["leaf-1", "leaf-2", "leaf-3", "leaf-4", "leaf-5"];

    #[test]
    fn each_leaf_has_its_share_of_the_keys() {
        let map = map(&NAMES);
        for name in NAMES {
            let count = (0..10_000).filter(|key| owner(&map, *key) == name).count();
            assert!((1_800..2_200).contains(&count), "{name} has {count} of 10000");
        }
    }

    #[test]
    fn only_the_keys_of_who_comes_or_goes_move() {
        let all = map(&NAMES);
        let mut fewer = all.clone();
        assert!(fewer.set_up("leaf-3", false));
        assert!(!fewer.set_up("leaf-3", false), "it was down already");
        assert_eq!(fewer.epoch(), all.epoch() + 1);
        for key in 0..10_000 {
            let (before, after) = (owner(&all, key), owner(&fewer, key));
            assert!(before == after || before == "leaf-3", "{key} moved from {before} to {after}");
            assert_ne!(after, "leaf-3");
        }
        let mut none = all;
        NAMES.into_iter().for_each(|name| _ = none.set_up(name, false));
        assert_eq!(none.locate(b"key"), None);
    }

    #[test]
    fn what_is_written_is_read_and_nonsense_is_refused() {
        let mut map = map(&NAMES);
        map.set_up("leaf-2", false);
        map.add(7, "named", Vec::new()).expect("a leaf");
        assert!(map.remove("leaf-4"));
        let mut bytes = map.encode();
        assert_eq!(LeafMap::decode(&bytes), Some(map));
        for len in 0..bytes.len() {
            assert_eq!(LeafMap::decode(&bytes[..len]), None, "cut to {len}");
        }
        bytes.push(0);
        assert_eq!(LeafMap::decode(&bytes), None);
    }

    #[test]
    fn what_cannot_be_a_leaf_is_refused_and_changes_nothing() {
        let mut map = map(&NAMES);
        let before = map.clone();
        let long = "x".repeat(MAX_NAME + 1);
        assert_eq!(map.add(1, "", Vec::new()), Err(LeafError::Name));
        assert_eq!(map.add(1, &long, Vec::new()), Err(LeafError::Name));
        assert_eq!(map.add(1, "leaf", vec![long]), Err(LeafError::Seeds));
        let nowhere = "nowhere".to_owned();
        assert_eq!(map.add(1, "leaf", vec![nowhere.clone()]), Err(LeafError::Port(nowhere)));
        assert_eq!(map.add(1, "leaf-1", Vec::new()), Err(LeafError::Moved));
        assert!(!map.remove("leaf") && !map.set_up("leaf", true));
        assert_eq!(map, before);
        let name = |at: usize| format!("another {at}");
        (0..MAX_LEAVES - NAMES.len())
            .for_each(|at| map.add(1, &name(at), Vec::new()).expect("there is room"));
        assert_eq!(map.add(1, "one more", Vec::new()), Err(LeafError::TooMany));
        // Who was removed counts no more, and may come back, found in another way.
        assert!(map.remove(&name(0)) && map.get(&name(0)).is_none());
        assert!(!map.remove(&name(0)) && !map.set_up(&name(0), true));
        assert_eq!(map.add(1, "one more", Vec::new()), Ok(()));
        assert_eq!(map.add(1, &name(0), Vec::new()), Err(LeafError::TooMany));
        for at in 0..2 * MAX_LEAVES {
            assert!(map.remove("one more"), "{at}");
            let seeds = (at % 2 == 0).then(|| "127.0.0.1:9".to_owned());
            assert_eq!(map.add(1, "one more", seeds.into_iter().collect()), Ok(()));
        }
    }

    #[test]
    fn a_map_is_never_longer_than_what_can_be_told() {
        let mut map = LeafMap::default();
        let seeds: Vec<_> = (10..26).map(|at| format!("{}:{at}", "x".repeat(90))).collect();
        let added = (0..).take_while(|at| map.add(1, &at.to_string(), seeds.clone()).is_ok()).count();
        assert!((5..20).contains(&added), "{added}");
        assert_eq!(map.add(1, "one more", seeds), Err(LeafError::TooLong));
        let len = map.encode().len();
        assert!(
            len <= MAX_MAP
                && len == HEAD + map.leaves().map(|(name, leaf)| leaf_len(name, leaf)).sum::<usize>()
        );
        let reply = crate::ClientTuning::default().bytes;
        assert!(MAX_MAP <= reply, "a map fits in a reply of {reply} bytes");
    }

    #[test]
    fn maps_of_two_lives_are_not_compared() {
        let (mut one, mut later, mut another) = Default::default();
        let add = |map: &mut LeafMap, life, name: &str| map.add(life, name, Vec::new()).expect("a leaf");
        add(&mut one, 1, "a");
        add(&mut later, 1, "a");
        add(&mut later, 2, "b");
        add(&mut another, 2, "a");
        assert!(one.is_behind(&later) && !later.is_behind(&one) && !one.is_behind(&one));
        assert!(!another.is_behind(&later) && !later.is_behind(&another));
    }
}
