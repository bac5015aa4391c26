//! Which leaf group serves which key.

use crate::State;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Leaf groups of one root.
pub(super) const MAX_LEAVES: usize = 256;
/// Bytes of the name of one.
const MAX_NAME: usize = 100;
/// Places where somebody of one may be found, and bytes of each.
const MAX_SEEDS: usize = 16;
const MAX_SEED: usize = 100;

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
    epoch: u64,
    leaves: BTreeMap<String, Leaf>,
}

/// Why a leaf group cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// There are as many as there can be.
    #[error("there are {MAX_LEAVES} leaf groups, and there cannot be more")]
    TooMany,
    /// Its name is empty or too long.
    #[error("the name of a leaf group has between 1 and {MAX_NAME} bytes")]
    Name,
    /// Its seeds are too many, or one is too long.
    #[error("a leaf group has at most {MAX_SEEDS} seeds, of at most {MAX_SEED} bytes")]
    Seeds,
}

impl LeafMap {
    /// How often it has changed: of two of one root the greater one is the later.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
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
        Ok(())
    }

    /// Adds a leaf group, that is not up yet, or says where else one may be found.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(super) fn add(&mut self, name: &str, seeds: Vec<String>) -> Result<(), LeafError> {
        Self::check(name, &seeds)?;
        if self.leaves.len() >= MAX_LEAVES && !self.leaves.contains_key(name) {
            return Err(LeafError::TooMany);
        }
        let leaf = self.leaves.entry(name.to_owned()).or_default();
        leaf.seeds = seeds;
        self.epoch += 1;
        Ok(())
    }

    /// Forgets a leaf group; false where there is none of that name.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let is_there = self.leaves.remove(name).is_some();
        self.epoch += u64::from(is_there);
        is_there
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
        let (epoch, bytes) = bytes.split_first_chunk()?;
        let (count, mut bytes) = bytes.split_first_chunk()?;
        let mut map = Self { epoch: u64::from_le_bytes(*epoch), ..Self::default() };
        let count = usize::from(u16::from_le_bytes(*count));
        if count > MAX_LEAVES {
            return None;
        }
        for _ in 0..count {
            let (&is_up, rest) = bytes.split_first()?;
            let (name, rest) = read_text(rest)?;
            let (&seeds, mut rest) = rest.split_first()?;
            let mut leaf = Leaf { seeds: Vec::new(), is_up: is_up == 1 };
            for _ in 0..seeds {
                let (seed, behind) = read_text(rest)?;
                leaf.seeds.push(seed.to_owned());
                rest = behind;
            }
            if is_up > 1 || map.leaves.insert(name.to_owned(), leaf).is_some() {
                return None;
            }
            bytes = rest;
        }
        bytes.is_empty().then_some(map)
    }
}

/// `epoch u64 | leaves u16 | (is up u8 | text | seeds u8 | text*)*`; `text := length u8 | bytes`. Little-endian.
impl State for LeafMap {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&(self.leaves.len() as u16).to_le_bytes());
        for (name, leaf) in self.leaves() {
            out.push(u8::from(leaf.is_up));
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
            map.add(name, vec!["127.0.0.1:9".to_owned()]).expect("a leaf");
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
        map.add("named", Vec::new()).expect("a leaf");
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
        assert_eq!(map.add("", Vec::new()), Err(LeafError::Name));
        assert_eq!(map.add(&long, Vec::new()), Err(LeafError::Name));
        assert_eq!(map.add("leaf", vec![long]), Err(LeafError::Seeds));
        assert!(!map.remove("leaf") && !map.set_up("leaf", true));
        assert_eq!(map, before);
        (0..MAX_LEAVES - NAMES.len())
            .for_each(|at| map.add(&at.to_string(), Vec::new()).expect("there is room"));
        assert_eq!(map.add("one more", Vec::new()), Err(LeafError::TooMany));
        assert!(map.remove("0") && map.add("one more", Vec::new()).is_ok());
    }
}
