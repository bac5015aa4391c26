//! A message as it is handed to the application: borrowed from the receive buffers, whole or in parts.

use crate::id::{Rank, Seq};
use crate::log::{ReceiveWindow, RxPool};
use crate::wire::{DataFrame, DataFrames, Header, Part};
use std::cell::{Cell, OnceCell};
use std::fmt;

/// One delivered message. It lives as long as the handler runs: copy what is to stay.
pub struct Message<'a> {
    from: Rank,
    body: Body<'a>,
}

/// Where its bytes are.
enum Body<'a> {
    /// In one block.
    Whole(&'a [u8]),
    /// In several.
    Fragmented(Fragmented<'a>),
}

struct Fragmented<'a> {
    len: usize,
    parts: Parts<'a>,
    /// Where the parts are put together, once.
    scratch: Cell<Option<&'a mut Vec<u8>>>,
    whole: OnceCell<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// One that lies in one piece.
    #[inline]
    #[must_use]
    pub fn whole(from: Rank, bytes: &'a [u8]) -> Self {
        Self { from, body: Body::Whole(bytes) }
    }

    pub(super) fn fragmented(from: Rank, len: usize, parts: Parts<'a>, scratch: &'a mut Vec<u8>) -> Self {
        let scratch = Cell::new(Some(scratch));
        Self { from, body: Body::Fragmented(Fragmented { len, parts, scratch, whole: OnceCell::new() }) }
    }

    /// The same message for a shorter time: this one is still there when the other was handed on.
    #[inline]
    #[must_use]
    pub fn reborrow(&mut self) -> Message<'_> {
        let body = match &mut self.body {
            Body::Whole(bytes) => Body::Whole(bytes),
            Body::Fragmented(body) => {
                let scratch = Cell::new(body.scratch.get_mut().as_deref_mut());
                let whole = body.whole.get().copied().map_or_else(OnceCell::new, OnceCell::from);
                Body::Fragmented(Fragmented { len: body.len, parts: body.parts.clone(), scratch, whole })
            }
        };
        Message { from: self.from, body }
    }

    /// Who cast it.
    #[must_use]
    pub fn from(&self) -> Rank {
        self.from
    }

    /// Bytes of it.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Whole(bytes) => bytes.len(),
            Body::Fragmented(body) => body.len,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message in one piece. One that came in several blocks is put together by the first call; [`parts`](Self::parts)
    /// spares that copy.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Whole(bytes) => bytes,
            Body::Fragmented(body) => body.assembled(),
        }
    }

    /// The message as it lies in the receive buffers: one slice for each block.
    #[must_use]
    pub fn parts(&self) -> Parts<'a> {
        match &self.body {
            Body::Whole(bytes) => Parts { next: Some(bytes), rest: None },
            Body::Fragmented(body) => body.parts.clone(),
        }
    }
}

impl Fragmented<'_> {
    fn assembled(&self) -> &[u8] {
        self.whole.get_or_init(|| {
            let scratch =
                self.scratch.take().expect("the scratch buffer is there until the message is assembled");
            scratch.clear();
            self.parts.clone().for_each(|part| scratch.extend_from_slice(part));
            scratch
        })
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("from", &self.from).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The slices of a message, in order.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    next: Option<&'a [u8]>,
    rest: Option<Rest<'a>>,
}

/// The blocks after the first: each begins with a part.
#[derive(Debug, Clone, Copy)]
struct Rest<'a> {
    window: &'a ReceiveWindow,
    pool: &'a RxPool,
    at: Seq,
    last: Seq,
}

impl<'a> Parts<'a> {
    /// `first`, and what the blocks `from..=last` begin with; the caller has checked that they do.
    pub(super) fn over(
        first: &'a [u8],
        window: &'a ReceiveWindow,
        pool: &'a RxPool,
        from: Seq,
        last: Seq,
    ) -> Self {
        Self { next: Some(first), rest: Some(Rest { window, pool, at: from, last }) }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let part = self.next.take()?;
        if let Some(rest) = &mut self.rest
            && rest.at <= rest.last
        {
            self.next = continuation(rest.window, rest.pool, rest.at).map(|(frame, _)| frame.bytes);
            rest.at = rest.at.plus(1);
        }
        Some(part)
    }
}

/// The frame that a held block begins with, if it continues a message, and the data bytes that it takes.
pub(super) fn continuation<'a>(
    window: &'a ReceiveWindow,
    pool: &'a RxPool,
    seq: Seq,
) -> Option<(DataFrame<'a>, usize)> {
    let data = Header::data_of_checked(pool.bytes(window.get(seq)?));
    let mut frames = DataFrames::new(data);
    let frame = frames.next_frame().ok()??;
    matches!(frame.part, Part::Middle | Part::Last).then_some((frame, data.len() - frames.remaining()))
}

/// How far a fragmented message reaches.
pub(super) enum Extent {
    /// It ends in block `last`, whose next frame begins at offset `at` of its data.
    Whole { last: Seq, at: usize },
    /// It cannot be whole before the block `wait_until` has come.
    Incomplete { wait_until: Seq },
    /// The blocks that follow do not continue it.
    Malformed,
}

/// Looks before `limit` for the end of the message of `total` bytes whose first `have` bytes stand in block `first`.
pub(super) fn extent(
    window: &ReceiveWindow,
    limit: Seq,
    pool: &RxPool,
    first: Seq,
    total: usize,
    mut have: usize,
) -> Extent {
    // Its sender refuses what exceeds half the window: more is a lie that would be waited for in vain.
    if total > window.capacity() as usize * pool.stride() {
        return Extent::Malformed;
    }
    let mut seq = first;
    loop {
        seq = seq.plus(1);
        if seq >= limit {
            // A block carries less than a stride of it.
            let blocks = total.saturating_sub(have) / pool.stride();
            return Extent::Incomplete { wait_until: seq.plus(blocks as u64) };
        }
        let Some((frame, at)) = continuation(window, pool, seq) else { return Extent::Malformed };
        have += frame.bytes.len();
        match frame.part {
            Part::Last if have == total => return Extent::Whole { last: seq, at },
            Part::Middle if have < total => {}
            _ => return Extent::Malformed,
        }
    }
}
