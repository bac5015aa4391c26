//! What members of a group with calls say to each other.
//!
//! ```text
//! message := tag u8 | body            0: plain, body is what is said
//!          | tag u8 | id u64 | body   request, reply, null, abort, forwarded (member), forward (member | request), ...
//! ```
//! All integers are little-endian; a member is written as agreement writes it.

use crate::agreement::{read_member, write_member};
use sistrum_ordering::{Endpoint, ViewMember};

/// See the module. The id is that of the caller, who is the sender of a request, the receiver of what answers it, or named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Plain(&'a [u8]),
    Call(u64, Part<'a>),
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// All who have the group's state.
    All,
    /// All of them but who calls.
    Others,
    /// The one to whom it is sent.
    One,
}

impl Of {
    /// That of a request whose reply is awaited; the next one is that of the others.
    const fn tag(self) -> u8 {
        match self {
            Self::All => 1,
            Self::Others => 12,
            Self::One => 14,
        }
    }
}

/// What is said of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Request {
        is_awaited: bool,
        of: Of,
        request: &'a [u8],
    },
    Reply(&'a [u8]),
    Null,
    Abort(&'a [u8]),
    /// I have handed it on to this one.
    Forwarded(ViewMember),
    /// This is handed on to you.
    Forward {
        is_awaited: bool,
        caller: ViewMember,
        request: &'a [u8],
    },
    /// It was handed to me, and I shall answer.
    Accepted,
    /// Was it handed to you by somebody who is gone now?
    Asked,
    /// All that was handed to me so far, I have accepted.
    No,
}

impl<'a> Message<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (id, part) = match self {
            Self::Plain(message) => return [&[0], *message].concat(),
            Self::Call(id, part) => (id, part),
        };
        let mut out = vec![part.tag()];
        out.extend_from_slice(&id.to_le_bytes());
        match part {
            Part::Request { request: bytes, .. } | Part::Reply(bytes) | Part::Abort(bytes) => {
                out.extend_from_slice(bytes);
            }
            Part::Forwarded(to) => write_member(*to, &mut out),
            Part::Forward { caller, request, .. } => {
                write_member(*caller, &mut out);
                out.extend_from_slice(request);
            }
            Part::Null | Part::Accepted | Part::Asked | Part::No => {}
        }
        out
    }

    /// Reads one that came to `local`.
    pub(super) fn decode(bytes: &'a [u8], local: Endpoint) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        if *tag == 0 {
            return Some(Self::Plain(rest));
        }
        let (id, body) = rest.split_first_chunk()?;
        let part = match *tag {
            tag @ (1 | 2 | 12..=15) => {
                let of = [Of::All, Of::Others, Of::One]
                    .into_iter()
                    .find(|of| matches!(tag.wrapping_sub(of.tag()), 0 | 1))?;
                Part::Request { is_awaited: tag == of.tag(), of, request: body }
            }
            3 => Part::Reply(body),
            4 => Part::Null,
            5 => Part::Abort(body),
            6 => Part::Forwarded(read_member(body, local)?.0),
            7 | 8 => {
                let (caller, request) = read_member(body, local)?;
                Part::Forward { is_awaited: *tag == 7, caller, request }
            }
            9 => Part::Accepted,
            10 => Part::Asked,
            11 => Part::No,
            _ => return None,
        };
        Some(Self::Call(u64::from_le_bytes(*id), part))
    }
}

impl Part<'_> {
    fn tag(&self) -> u8 {
        match self {
            Self::Request { is_awaited, of, .. } => of.tag() + u8::from(!*is_awaited),
            Self::Reply(_) => 3,
            Self::Null => 4,
            Self::Abort(_) => 5,
            Self::Forwarded(_) => 6,
            Self::Forward { is_awaited: true, .. } => 7,
            Self::Forward { is_awaited: false, .. } => 8,
            Self::Accepted => 9,
            Self::Asked => 10,
            Self::No => 11,
        }
    }
}
