//! What a client and a member tell each other, and what members cast about clients.
//!
//! ```text
//! letter := tag u8 | boot u64 | session u64 | turn u64 | body
//!   Attach     1                                                                  client -> member
//!   Ask        2 | number u64 | acked u64 | after u64 | dest u8 | want u8 | count u32 | request
//!   Ping       3
//!   Bye        4
//!   Attached   16                                                                 member -> client
//!   Unattached 17
//!   Pong       18
//!   Full       19
//!   Dropped    20 | above u64
//!   Done       21 | number u64 | enough u8 | count u32 | (member | status)*
//! cast   := mark | tag u8 | client | session u64 | body
//!   Attach     1 | turn u64
//!   Gone       2 | turn u64 | host
//!   Ask        3 | number u64 | acked u64 | dest u8 | request
//! ```
//! What a request comes after is all ones where nothing before it is open. A status is a tag, and what was said behind its length. Who a letter is from is known by where it came from, and by its boot.

use super::Dest;
use super::bytes::{Reader, put_status, put_want};
use crate::agreement::write_member;
use crate::call::{Status, Want};
use sistrum_ordering::{BootId, Endpoint, ViewMember};

/// In front of what is cast about clients: no application begins what it says so.
const MARK: [u8; 8] = *b"\0clients";
/// What is the number of no request.
const NOTHING: u64 = u64::MAX;
/// What stands for a reason that there is no room for.
const TOO_LONG: &str = "for a reason that is too long";
/// Bytes before the body of a letter.
const HEAD_LEN: usize = 1 + 3 * 8;
/// Bytes of a letter that asks, but for the request.
pub(super) const ASK_LEN: usize = HEAD_LEN + 3 * 8 + 1 + 5;

/// A letter: of which incarnation of the client it is, in which session, and which of its attempts to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter<'a> {
    pub(super) boot: BootId,
    /// 0: it has none so far.
    pub(super) session: u64,
    pub(super) turn: u64,
    pub(super) part: Part<'a>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Be my host.
    Attach,
    /// My request of this number; I have all replies below `acked`, and `after` is the last before it that is not over.
    Ask { number: u64, acked: u64, after: Option<u64>, dest: Dest, want: Want, request: &'a [u8] },
    /// Are you there?
    Ping,
    /// I am gone.
    Bye,
    /// I am your host.
    Attached,
    /// I am not your host: attach first.
    Unattached,
    /// I am there.
    Pong,
    /// There are as many clients as may be.
    Full,
    /// You are none of our clients any more, nor will anybody be of your endpoint who is not `above` this.
    Dropped { above: BootId },
    /// That is what has become of your request.
    Done { number: u64, is_enough: bool, replies: Vec<(ViewMember, Status)> },
}

impl<'a> Letter<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.part.tag()];
        for value in [self.boot.0, self.session, self.turn] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        match &self.part {
            Part::Ask { number, acked, after, dest, want, request } => {
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&acked.to_le_bytes());
                out.extend_from_slice(&after.unwrap_or(NOTHING).to_le_bytes());
                out.push(dest.tag());
                put_want(*want, &mut out);
                out.extend_from_slice(request);
            }
            Part::Dropped { above } => out.extend_from_slice(&above.0.to_le_bytes()),
            Part::Done { number, is_enough, replies } => {
                out.extend_from_slice(&number.to_le_bytes());
                out.push(u8::from(*is_enough));
                out.extend_from_slice(&(replies.len() as u32).to_le_bytes());
                for (who, status) in replies {
                    write_member(*who, &mut out);
                    put_status(status, &mut out);
                }
            }
            _ => {}
        }
        out
    }

    /// Reads one that came to `local`.
    pub(super) fn decode(bytes: &'a [u8], local: Endpoint) -> Option<Self> {
        let mut from = Reader::new(bytes, local);
        let tag = from.u8()?;
        let (boot, session, turn) = (BootId(from.u64()?), from.u64()?, from.u64()?);
        let part = match tag {
            1 => Part::Attach,
            2 => Part::Ask {
                number: number(&mut from)?,
                acked: from.u64()?,
                after: Some(from.u64()?).filter(|after| *after != NOTHING),
                dest: Dest::of(from.u8()?)?,
                want: from.want()?,
                request: from.rest(),
            },
            3 => Part::Ping,
            4 => Part::Bye,
            16 => Part::Attached,
            17 => Part::Unattached,
            18 => Part::Pong,
            19 => Part::Full,
            20 => Part::Dropped { above: BootId(from.u64()?) },
            21 => Part::Done {
                number: from.u64()?,
                is_enough: match from.u8()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
                replies: from.list(|from| Some((from.member()?, from.status()?)))?,
            },
            _ => return None,
        };
        from.is_at_end().then_some(Self { boot, session, turn, part })
    }
}

/// Leaves out the longest of what was said, and so many bytes at least: it stays known who has said what kind of thing.
pub(super) fn leave_out(mut bytes: usize, replies: &mut [(ViewMember, Status)]) {
    let len_of = |status: &Status| match status {
        Status::Replied(reply) => reply.len(),
        Status::Aborted(why) => why.len(),
        _ => 0,
    };
    while bytes > 0 {
        let Some((_, longest)) = replies.iter_mut().max_by_key(|(_, status)| len_of(status)) else { return };
        let before = len_of(longest);
        *longest = match longest {
            Status::Aborted(_) => Status::Aborted(TOO_LONG.to_owned()),
            _ => Status::Unsent(before),
        };
        let saved = before.saturating_sub(len_of(longest));
        if saved == 0 {
            return;
        }
        bytes = bytes.saturating_sub(saved);
    }
}

/// That of a request: there is one above it.
fn number(from: &mut Reader<'_>) -> Option<u64> {
    from.u64().filter(|number| *number != NOTHING)
}

impl Part<'_> {
    const fn tag(&self) -> u8 {
        match self {
            Self::Attach => 1,
            Self::Ask { .. } => 2,
            Self::Ping => 3,
            Self::Bye => 4,
            Self::Attached => 16,
            Self::Unattached => 17,
            Self::Pong => 18,
            Self::Full => 19,
            Self::Dropped { .. } => 20,
            Self::Done { .. } => 21,
        }
    }
}

impl Dest {
    const fn tag(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Any => 1,
        }
    }

    const fn of(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::All),
            1 => Some(Self::Any),
            _ => None,
        }
    }
}

/// What is cast about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cast<'a> {
    pub(super) client: ViewMember,
    pub(super) session: u64,
    pub(super) deed: Deed<'a>,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed<'a> {
    /// Who casts it is its host.
    Attach { turn: u64 },
    /// It is struck, unless it has moved from here.
    Gone { turn: u64, host: ViewMember },
    /// It asks.
    Ask { number: u64, acked: u64, dest: Dest, request: &'a [u8] },
}

impl<'a> Cast<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MARK.to_vec();
        out.push(match self.deed {
            Deed::Attach { .. } => 1,
            Deed::Gone { .. } => 2,
            Deed::Ask { .. } => 3,
        });
        write_member(self.client, &mut out);
        out.extend_from_slice(&self.session.to_le_bytes());
        match self.deed {
            Deed::Attach { turn } => out.extend_from_slice(&turn.to_le_bytes()),
            Deed::Gone { turn, host } => {
                out.extend_from_slice(&turn.to_le_bytes());
                write_member(host, &mut out);
            }
            Deed::Ask { number, acked, dest, request } => {
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&acked.to_le_bytes());
                out.push(dest.tag());
                out.extend_from_slice(request);
            }
        }
        out
    }

    /// Reads one that came to `local`.
    pub(super) fn decode(bytes: &'a [u8], local: Endpoint) -> Option<Self> {
        let mut from = Reader::new(bytes.strip_prefix(&MARK)?, local);
        let (tag, client, session) = (from.u8()?, from.member()?, from.u64()?);
        let deed = match tag {
            1 => Deed::Attach { turn: from.u64()? },
            2 => Deed::Gone { turn: from.u64()?, host: from.member()? },
            3 => Deed::Ask {
                number: number(&mut from)?,
                acked: from.u64()?,
                dest: Dest::of(from.u8()?)?,
                request: from.rest(),
            },
            _ => return None,
        };
        from.is_at_end().then_some(Self { client, session, deed })
    }
}
