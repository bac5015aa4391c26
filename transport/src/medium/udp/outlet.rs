//! The sending half: a run goes to one destination or to each of several, and goes on where a full buffer stopped it.

use crate::medium::{MediumCounters, MediumError, Sent};
use crate::protocol::Target;
use crate::sys::message::Destination;
use crate::sys::socket::Socket;
use std::io;

/// Sends runs, and remembers one that stopped half-way.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Whether a run leaves in one call; switched off for good when the device turns out not to do it.
    segments: bool,
    unfinished: Option<Unfinished>,
    counters: MediumCounters,
}

/// A send that met a full buffer: when the very same is tried again, it goes on at `step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unfinished {
    /// The target, and the length and the CRC of the run.
    key: (Target, usize, u32),
    step: usize,
}

/// What became of one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    Done,
    Busy,
    Lost,
    /// The device does not segment, although the kernel does.
    NotSegmented,
}

impl Outlet {
    pub(super) fn new(segments: bool) -> Self {
        Self { segments, unfinished: None, counters: MediumCounters::default() }
    }

    /// Sends `run` in blocks of `segment` bytes to each of `destinations`; `sent` is told the blocks of each call.
    #[inline]
    pub(super) fn send(
        &mut self,
        from: &Socket,
        target: &Target,
        destinations: &[Destination],
        (run, segment): (&[u8], usize),
        mut sent: impl FnMut(u32),
    ) -> Result<Sent, MediumError> {
        let mut put = |to: usize, bytes: &[u8]| {
            let put = put(from, &destinations[to], bytes, segment)?;
            if put == Put::Done {
                sent(u32::try_from(bytes.len().div_ceil(segment)).unwrap_or(u32::MAX));
            }
            Ok(put)
        };
        self.walk(target, destinations.len(), (run, segment), &mut put)
    }

    /// The destinations have changed: what stopped half-way begins again with the first.
    pub(super) fn forget_unfinished(&mut self) {
        self.unfinished = None;
    }

    pub(super) fn counters(&self) -> MediumCounters {
        self.counters
    }

    /// Puts every piece of the run to every destination, destination by destination.
    fn walk(
        &mut self,
        target: &Target,
        destinations: usize,
        (run, segment): (&[u8], usize),
        put: &mut impl FnMut(usize, &[u8]) -> Result<Put, MediumError>,
    ) -> Result<Sent, MediumError> {
        let blocks = run.len().div_ceil(segment);
        let mut pieces = if self.segments { 1 } else { blocks };
        let mut step = self.unfinished.take().map_or(0, |unfinished| unfinished.resume(target, run));
        while step < destinations * pieces {
            let bytes = if pieces == 1 { run } else { block(run, segment, step % pieces) };
            match put(step / pieces, bytes)? {
                Put::Done => {
                    self.counters.sends += 1;
                    self.counters.sent_blocks += bytes.len().div_ceil(segment) as u64;
                }
                Put::Lost => self.counters.send_errors += 1,
                Put::Busy => {
                    self.unfinished = Some(Unfinished { key: key(target, run), step });
                    return Ok(Sent::Busy);
                }
                Put::NotSegmented => {
                    self.segments = false;
                    step *= blocks;
                    pieces = blocks;
                    continue;
                }
            }
            step += 1;
        }
        Ok(Sent::Done)
    }
}

impl Unfinished {
    /// The step to go on at: the first one for any other send.
    #[cold]
    fn resume(self, target: &Target, run: &[u8]) -> usize {
        if self.key == key(target, run) { self.step } else { 0 }
    }
}

#[cold]
fn key(target: &Target, run: &[u8]) -> (Target, usize, u32) {
    (*target, run.len(), crc32c::crc32c(run))
}

fn block(run: &[u8], segment: usize, index: usize) -> &[u8] {
    let start = index * segment;
    &run[start..run.len().min(start + segment)]
}

#[inline]
fn put(from: &Socket, to: &Destination, bytes: &[u8], segment: usize) -> Result<Put, MediumError> {
    let result = match u16::try_from(segment) {
        Ok(segment) if bytes.len() > usize::from(segment) => from.send_run(to, bytes, segment),
        _ => from.send_one(to, bytes),
    };
    match result {
        Ok(()) => Ok(Put::Done),
        Err(source) => refused(source, to, bytes.len() > segment),
    }
}

#[cold]
fn refused(source: io::Error, to: &Destination, is_run: bool) -> Result<Put, MediumError> {
    match source.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Put::Busy),
        // EIO is a device without checksum offload, EINVAL one with too small packets or segments.
        Some(libc::EIO | libc::EINVAL) if is_run => Ok(Put::NotSegmented),
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT) => {
            Err(MediumError::System { what: format!("cannot send to {to:?}"), source })
        }
        _ => Ok(Put::Lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::Channel;

    /// Walks with a put that answers from a script, and returns what was put.
    fn walk(
        outlet: &mut Outlet,
        run: &[u8],
        segment: usize,
        script: &[Put],
    ) -> (Sent, Vec<(usize, Vec<u8>)>) {
        let mut answers = script.iter();
        let mut seen = Vec::new();
        let mut put = |to: usize, bytes: &[u8]| {
            let answer = *answers.next().unwrap_or(&Put::Done);
            if answer == Put::Done {
                seen.push((to, bytes.to_vec()));
            }
            Ok(answer)
        };
        let sent = outlet.walk(&Target::Channel(Channel(0)), 3, (run, segment), &mut put).unwrap();
        (sent, seen)
    }

    #[test]
    fn a_fan_out_goes_on_where_it_was_busy() {
        let mut outlet = Outlet::new(true);
        let (sent, seen) = walk(&mut outlet, b"aabbc", 2, &[Put::Done, Put::Busy]);
        assert_eq!((sent, seen.len()), (Sent::Busy, 1));
        let (sent, seen) = walk(&mut outlet, b"aabbc", 2, &[]);
        assert_eq!(sent, Sent::Done);
        assert_eq!(seen, [(1, b"aabbc".to_vec()), (2, b"aabbc".to_vec())]);
        assert_eq!((outlet.counters.sends, outlet.counters.sent_blocks), (3, 9));
    }

    #[test]
    fn another_run_after_busy_reaches_everybody() {
        let mut outlet = Outlet::new(true);
        walk(&mut outlet, b"first", 5, &[Put::Done, Put::Busy]);
        let (_, seen) = walk(&mut outlet, b"other", 5, &[]);
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_refusal_loses_one_destination_and_is_counted() {
        let mut outlet = Outlet::new(true);
        let (sent, seen) = walk(&mut outlet, b"x", 1, &[Put::Lost]);
        assert_eq!((sent, seen.len(), outlet.counters.send_errors), (Sent::Done, 2, 1));
    }

    #[test]
    fn a_device_that_does_not_segment_gets_single_blocks_from_then_on() {
        let mut outlet = Outlet::new(true);
        let (_, seen) = walk(&mut outlet, b"aabbc", 2, &[Put::Done, Put::NotSegmented]);
        assert_eq!(seen[0], (0, b"aabbc".to_vec()));
        assert_eq!(seen[1..4], [(1, b"aa".to_vec()), (1, b"bb".to_vec()), (1, b"c".to_vec())]);
        assert_eq!(seen.len(), 7);
        assert!(!outlet.segments);
    }
}
