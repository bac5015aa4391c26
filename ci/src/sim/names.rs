//! What messages consist of: a name, and bytes that follow from it; and which message some bytes are.

use super::history::{History, Message, Process, Send, Sent};
use fastrand::Rng;
use sistrum_ordering::Rank;

/// Bytes that name a message, at its beginning. A shorter one is empty.
pub(super) const NAME: usize = 4;
/// In the names of what is sent to one alone.
const SENT: u32 = 1 << 31;

/// See the module.
#[derive(Debug)]
pub(super) struct Names {
    seed: u64,
    scratch: Vec<u8>,
}

impl Names {
    /// What a message consists of depends on the scenario, and not on who judges it.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, scratch: Vec::new() }
    }

    /// A message of `len` bytes that has its name, and no byte by accident.
    pub(super) fn compose(&mut self, message: Message, len: usize) -> &[u8] {
        self.scratch.clear();
        self.scratch.extend_from_slice(&message.0.to_le_bytes());
        self.scratch.resize(len, 0);
        let mut rng = Rng::with_seed(self.seed ^ (u64::from(message.0) << 20));
        self.scratch.get_mut(NAME..).into_iter().for_each(|bytes| rng.fill(bytes));
        &self.scratch
    }

    /// What is sent to one alone, likewise: its name cannot be taken for that of a cast.
    pub(super) fn compose_sent(&mut self, sent: Sent, len: usize) -> &[u8] {
        self.compose(Message(SENT | sent.0), len)
    }

    /// What somebody sent to one alone with these bytes, of which this `is_so`.
    pub(super) fn identify_sent(
        &mut self,
        bytes: &[u8],
        history: &History,
        is_so: impl FnOnce(&Send) -> bool,
    ) -> Option<Sent> {
        let name = u32::from_le_bytes(*bytes.first_chunk::<NAME>()?);
        let sent = Sent(name & !SENT);
        let send = history.sends.get(sent.0 as usize).filter(|_| name & SENT != 0)?;
        let is_it = send.len == bytes.len() && is_so(send) && self.compose_sent(sent, bytes.len()) == bytes;
        is_it.then_some(sent)
    }

    /// The message that `from` cast with these bytes, which are some.
    pub(super) fn identify(&mut self, from: Rank, bytes: &[u8], history: &History) -> Option<Message> {
        self.identify_by(bytes, history, |by| history.who(by).rank == from)
    }

    /// The message that somebody cast with these bytes of whom this `is_so`.
    pub(super) fn identify_by(
        &mut self,
        bytes: &[u8],
        history: &History,
        is_so: impl FnOnce(Process) -> bool,
    ) -> Option<Message> {
        let message = Message(u32::from_le_bytes(*bytes.first_chunk::<NAME>()?));
        let cast = history.casts.get(message.0 as usize)?;
        let is_it = cast.len == bytes.len() && is_so(cast.by) && self.compose(message, bytes.len()) == bytes;
        is_it.then_some(message)
    }
}
