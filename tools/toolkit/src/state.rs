//! The state of an application, written down for those who join and read where they do.

use crate::{Error, Event, Result};

/// A state, or a part of it, that others can take over.
pub trait State {
    /// Writes down all that somebody needs to be where I am.
    fn write(&self, out: &mut Vec<u8>);

    /// Becomes what was written down.
    ///
    /// # Errors
    /// When it is no such state, in words: then nothing of it has changed.
    fn read(&mut self, bytes: &[u8]) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// A domain of the state of a group, in which a member [keeps it](crate::JoinOptions::keep_state): it writes a [`State`] down when that is
/// wanted, and reads it when all of it has come.
///
/// ```no_run
/// use sistrum::{Config, Domain, Event, JoinOptions, Node, State, StateTuning};
///
/// #[derive(Default)]
/// struct Count(u64);
///
/// impl State for Count {
///     fn write(&self, out: &mut Vec<u8>) {
///         out.extend_from_slice(&self.0.to_le_bytes());
///     }
///     fn read(&mut self, bytes: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         self.0 = u64::from_le_bytes(bytes.try_into()?);
///         Ok(())
///     }
/// }
///
/// let mut node = Node::open(Config::loopback("prices"))?;
/// node.join("ticks", JoinOptions::peer().keep_state(StateTuning::default()))?;
/// let (mut count, mut domain) = (Count::default(), Domain::new("count"));
/// loop {
///     node.poll(|_, mut event| {
///         if domain.handle(&mut event, &mut count)? {
///             return Ok(());
///         }
///         if let Event::Deliver(_) = event {
///             count.0 += 1;
///         }
///         Ok(())
///     })?;
/// }
/// # Ok::<(), sistrum::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Domain {
    name: String,
    coming: Vec<u8>,
}

impl Domain {
    /// The domain of this name: the same at all members.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), coming: Vec::new() }
    }

    /// Takes an event of the group. Returns whether there is nothing else to do with it: it was a block of this domain.
    ///
    /// # Errors
    /// [`Error::Handler`] when what came is no such state: the event is offered again then, and again, until the group is left.
    pub fn handle(&mut self, event: &mut Event<'_>, state: &mut impl State) -> Result<bool> {
        match event {
            Event::Snapshot(snapshot) => {
                state.write(snapshot.domain(&self.name));
                Ok(false)
            }
            Event::State(block) if block.domain == self.name => {
                if block.is_first() {
                    self.coming.clear();
                }
                let before = self.coming.len();
                self.coming.extend_from_slice(block.bytes);
                if block.is_last() {
                    if let Err(why) = state.read(&self.coming) {
                        // It comes again.
                        self.coming.truncate(before);
                        return Err(Error::Handler(why));
                    }
                    self.coming = Vec::new();
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// A state that serde writes and reads, in the format of `postcard`.
#[cfg(feature = "serde")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Serde<T>(pub T);

#[cfg(feature = "serde")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> State for Serde<T> {
    /// # Panics
    /// When the type's own serialization fails.
    fn write(&self, out: &mut Vec<u8>) {
        let before = std::mem::take(out);
        *out = postcard::to_extend(&self.0, before).expect("plain data");
    }

    fn read(&mut self, bytes: &[u8]) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0 = postcard::from_bytes(bytes)?;
        Ok(())
    }
}
