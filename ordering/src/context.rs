//! A causal context: what a member had been handed and had cast, as bytes that can be carried by hand.
//!
//! Causal order sees what goes through the group and nothing else. Whoever tells another by a file, a database or a telephone
//! call (a *hidden channel*) hands over the context with it; the other waits until its own deliveries have reached it.
//!
//! ```text
//! version (1) | group (4) | instance (4) | view (4) | blocks of rank 0, 1, .. (varints, to the end)
//! ```
//! Little-endian. Entry `k` says that every message of `k` which ends before that block counts.

use crate::varint;
use crate::view::ViewId;
use sistrum_transport::id::{GroupId, GroupInstance, Seq, ViewNumber};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CausalContext {
    view: ViewId,
    upto: Vec<Seq>,
}

/// Why a causal context says nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextError {
    /// These bytes are none.
    Malformed,
    /// They are of a version that this library does not know.
    Version(u8),
    /// There is no view here yet, or only a reader.
    NoView,
    /// It is of another group, or of another life of this one.
    OtherGroup,
    /// It is of another view of this group: its numbers count other streams.
    OtherView(ViewNumber),
}

impl CausalContext {
    /// In this view, everything before `upto` in each stream.
    #[must_use]
    pub fn new(view: ViewId, upto: Vec<Seq>) -> Self {
        Self { view, upto }
    }

    /// The view whose streams it counts.
    #[must_use]
    pub fn view(&self) -> ViewId {
        self.view
    }

    /// Every message of a rank that ends before its block here counts.
    #[must_use]
    pub fn upto(&self) -> &[Seq] {
        &self.upto
    }

    /// Whether deliveries that have come so far in each stream of `view` include everything that this context names.
    ///
    /// # Errors
    /// When it is of another view or group, or its numbers are not those of this view.
    pub fn is_reached(&self, view: ViewId, delivered: &[Seq]) -> Result<bool, ContextError> {
        if (self.view.group, self.view.instance) != (view.group, view.instance) {
            return Err(ContextError::OtherGroup);
        }
        if self.view.number != view.number {
            return Err(ContextError::OtherView(self.view.number));
        }
        if self.upto.len() != delivered.len() {
            return Err(ContextError::Malformed);
        }
        Ok(self.upto.iter().zip(delivered).all(|(wanted, here)| wanted <= here))
    }

    /// The context as bytes: two or three of each member, and 13.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let ViewId { group, instance, number } = self.view;
        let mut bytes = vec![VERSION];
        [group.0, instance.0, number.0].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        for seq in &self.upto {
            let at = bytes.len();
            bytes.resize(at + varint::len(seq.0), 0);
            varint::write(&mut bytes[at..], seq.0).expect("the room was made for it");
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. It never takes more memory than eight times the bytes.
    ///
    /// # Errors
    /// [`ContextError::Version`] and [`ContextError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ContextError> {
        let (&version, mut rest) = bytes.split_first().ok_or(ContextError::Malformed)?;
        if version != VERSION {
            return Err(ContextError::Version(version));
        }
        let mut word = || {
            let (word, after) = rest.split_first_chunk::<4>().ok_or(ContextError::Malformed)?;
            rest = after;
            Ok(u32::from_le_bytes(*word))
        };
        let view =
            ViewId { group: GroupId(word()?), instance: GroupInstance(word()?), number: ViewNumber(word()?) };
        let mut upto = Vec::new();
        while !rest.is_empty() {
            let value = varint::read(&mut rest).filter(|value| *value <= Seq::LIMIT.0);
            upto.push(Seq(value.ok_or(ContextError::Malformed)?));
        }
        Ok(Self { view, upto })
    }
}

impl std::fmt::Display for ContextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => f.write_str("these bytes are no causal context of this view"),
            Self::Version(version) => write!(f, "a causal context of version {version} cannot be read here"),
            Self::NoView => f.write_str("there is no view yet to compare a causal context with"),
            Self::OtherGroup => {
                f.write_str("the causal context is of another group, or of an earlier life of it")
            }
            Self::OtherView(number) => write!(f, "the causal context is of another view, {number}"),
        }
    }
}

impl std::error::Error for ContextError {}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn view(group: u32, instance: u32, number: u32) -> ViewId {
        ViewId { group: GroupId(group), instance: GroupInstance(instance), number: ViewNumber(number) }
    }

    fn context() -> CausalContext {
        CausalContext::new(view(1, 2, 3), vec![Seq(0), Seq(300), Seq(1 << 40)])
    }

    #[test]
    fn it_comes_back_as_it_was_written() {
        let bytes = context().to_bytes();
        assert_eq!((bytes.len(), CausalContext::from_bytes(&bytes)), (13 + 1 + 2 + 6, Ok(context())));
        for cut in (0..13).chain([15, bytes.len() - 1]) {
            assert_eq!(CausalContext::from_bytes(&bytes[..cut]), Err(ContextError::Malformed), "{cut}");
        }
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(CausalContext::from_bytes(&newer), Err(ContextError::Version(2)));
        let beyond = [&bytes[..13], &[0xff; 9], &[1]].concat();
        assert_eq!(CausalContext::from_bytes(&beyond), Err(ContextError::Malformed));
    }

    #[test]
    fn hostile_bytes_do_no_harm() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = context().to_bytes();
            bytes.truncate(rng.usize(..=bytes.len()));
            bytes.iter_mut().for_each(|byte| *byte ^= if rng.u8(..4) == 0 { rng.u8(..) } else { 0 });
            if let Ok(read) = CausalContext::from_bytes(&bytes) {
                assert_eq!(CausalContext::from_bytes(&read.to_bytes()), Ok(read));
            }
        }
    }

    #[test]
    fn it_is_reached_when_every_entry_is() {
        let reached = |delivered: [u64; 3]| context().is_reached(view(1, 2, 3), &delivered.map(Seq));
        assert_eq!(reached([0, 300, 1 << 40]), Ok(true));
        assert_eq!(reached([9, 301, (1 << 40) + 1]), Ok(true));
        assert_eq!(reached([9, 299, 1 << 41]), Ok(false));
    }

    #[test]
    fn of_another_view_or_group_it_says_nothing() {
        let here = [Seq(0); 3];
        assert_eq!(context().is_reached(view(9, 2, 3), &here), Err(ContextError::OtherGroup));
        assert_eq!(context().is_reached(view(1, 9, 3), &here), Err(ContextError::OtherGroup));
        let other = Err(ContextError::OtherView(ViewNumber(3)));
        assert_eq!(context().is_reached(view(1, 2, 4), &here), other);
        assert_eq!(context().is_reached(view(1, 2, 3), &here[..2]), Err(ContextError::Malformed));
    }
}
