//! One io_uring for the receiving half of a medium, and everything about it that is unsafe.
//!
//! **No buffer is the kernel's beyond the call that lends it.** Every receive carries MSG_DONTWAIT, which makes io_uring
//! finish it while it is submitted, with -EAGAIN where nothing is there, instead of arming a poll for it; a multishot
//! then ends when the socket is empty. So the buffers are borrowed, not handed over, and there is no table of buffers
//! in flight to keep. Should a kernel leave a receive pending nevertheless, it is cancelled and reaped before the call
//! returns. What stays armed between calls are polls, which have no buffer.

mod buffers;
mod entrance;

use super::address::{ADDRESS_BYTES, RawAddress, endpoint_in};
use super::message::{ControlBuffer, Received, header, segment_of};
use super::socket::Socket;
use buffers::{BUFFER_GROUP, Buffers};
use entrance::Entrance;
use io_uring::types::{CancelBuilder, Fd, Fixed, RecvMsgOut};
use io_uring::{IoUring, cqueue, opcode};
use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most sockets that one [`Ring::receive_each`] looks at.
pub const MAX_LOOKS: usize = 64;
/// The most datagrams that one [`Ring::receive_many`] takes. The kernel stops at 33 of itself and says -EAGAIN, as it
/// does for an empty socket: with fewer buffers than that, -EAGAIN means empty.
pub const MAX_BURST: usize = 32;

/// A ring that belongs to the thread that first receives by it.
pub struct Ring {
    ring: IoUring,
    /// The number of the thread that it belongs to.
    owner: Option<u64>,
    entrance: Entrance,
    /// How many sockets the kernel knows by their index; no more are added without a table.
    files: u32,
    table: bool,
    /// An enter or a queueing failed or panicked: the queue may have entries whose pointers are no longer good.
    broken: bool,
    slots: Box<[Slot]>,
    /// Of every receive; a constant but for the test of what happens without it.
    flags: i32,
    buffers: Option<Buffers>,
    burst: Burst,
    /// Indices of watched sockets that may have something; each at most once.
    ready: Vec<u32>,
    /// Those whose watch has ended of itself.
    unwatched: Vec<u32>,
    watched: u32,
}

/// A socket and the index that it was [added](Ring::add) under.
#[derive(Debug, Clone, Copy)]
pub struct Indexed<'a> {
    /// The number of sockets that were added before it.
    pub index: u32,
    /// The socket.
    pub socket: &'a Socket,
}

/// What one one-shot receive needs beside its buffer. The kernel has pointers into it during `receive_each` only.
struct Slot {
    from: MaybeUninit<RawAddress>,
    control: MaybeUninit<ControlBuffer>,
    data: libc::iovec,
    message: libc::msghdr,
    result: i32,
}

/// What one multishot receive brought.
struct Burst {
    /// The lengths of address and control, as the kernel wants them; it keeps no pointer to it.
    message: libc::msghdr,
    arrived: Vec<Received>,
    /// The result of the completion that ended it; `None` while it runs.
    ended: Option<i32>,
    /// The kernel used the buffers in another order than theirs, which no kernel does.
    out_of_order: bool,
}

/// Why a multishot receive ended.
#[derive(Debug)]
pub enum Ended {
    /// The socket is empty.
    Empty,
    /// All buffers are used; the socket may have more.
    OutOfBuffers,
    /// The kernel ended it for a reason of its own (a datagram without payload is one); the socket may have more.
    Early,
    /// The socket has an error to tell.
    Failed(io::Error),
}

impl Ring {
    /// A ring that nothing may be submitted to yet: the first receive does that, from whatever thread.
    ///
    /// # Errors
    /// `EPERM` and `ENOSYS` where io_uring is forbidden, `EINVAL` before Linux 6.1.
    pub fn open() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let buffers = Buffers::register(&ring).ok();
        let entrance = Entrance::of(&ring);
        let table = ring.submitter().register_files_sparse(MAX_FILES).is_ok();
        Ok(Self {
            ring,
            owner: None,
            entrance,
            files: 0,
            table,
            broken: false,
            slots: (0..MAX_LOOKS).map(|_| Slot::new()).collect(),
            flags: libc::MSG_DONTWAIT,
            buffers,
            burst: Burst::new(),
            ready: Vec::new(),
            unwatched: Vec::new(),
            watched: 0,
        })
    }

    /// Has the kernel know `socket` by its index, the number of sockets that were added before, which makes looks cheaper.
    /// Whoever receives from the socket gives both. The ring keeps it open until it is dropped.
    ///
    /// # Errors
    /// When the ring belongs to another thread (`EEXIST`).
    pub fn add(&mut self, socket: &Socket) -> io::Result<()> {
        self.enable()?;
        if self.table && self.files < MAX_FILES {
            let added = self.ring.submitter().register_files_update(self.files, &[socket.as_raw_fd()]);
            self.table = added.is_ok();
            self.files += u32::from(self.table);
        }
        Ok(())
    }

    /// Looks once at each of the sockets, all in one system call, and lends each its buffer for that. `told` asks the kernel
    /// for the segment size of what is coalesced. The answers are taken by [`answer`](Self::answer), in the same order.
    ///
    /// # Errors
    /// When the ring is broken for good, or belongs to another thread (`EEXIST`).
    pub fn receive_each<'a>(
        &mut self,
        looks: impl Iterator<Item = (Indexed<'a>, &'a mut [u8])>,
        told: bool,
    ) -> io::Result<()> {
        self.enable()?;
        let flags = self.flags.cast_unsigned();
        let mut queued = 0;
        self.broken = true;
        for (slot, (socket, into)) in self.slots.iter_mut().zip(looks) {
            let message = slot.ask(into, told);
            let look = match socket.known(self.files) {
                Ok(known) => opcode::RecvMsg::new(known, message).flags(flags).build(),
                Err(unknown) => opcode::RecvMsg::new(unknown, message).flags(flags).build(),
            };
            let look = look.user_data(tag(LOOK, queued));
            // SAFETY: the entry points to `into` and to a slot that does not move (its slice is boxed). Both stay valid and
            // untouched until the request has completed, which `complete` waits for; see the head of this file.
            unsafe { self.ring.submission().push(&look) }.map_err(|_| io::ErrorKind::StorageFull)?;
            queued += 1;
        }
        self.broken = false;
        self.complete(queued)
    }

    /// The answer to the look number `at` of the last [`receive_each`](Self::receive_each): `None` from an empty socket.
    ///
    /// # Errors
    /// What the system says, pending errors of the network included.
    #[inline]
    pub fn answer(&self, at: usize) -> io::Result<Option<Received>> {
        self.slots[at].answer()
    }

    /// Whether this kernel has [`receive_many`](Self::receive_many).
    #[must_use]
    pub fn has_bursts(&self) -> bool {
        self.buffers.is_some()
    }

    /// Takes datagrams from `socket` until it is empty or all `buffers` are used, in one system call. They are used in
    /// order, one datagram each; its bytes lie behind the first [`burst_head`] ones. [`burst`](Self::burst) tells of each.
    ///
    /// # Errors
    /// As [`receive_each`](Self::receive_each); `Unsupported` where there are no buffer rings.
    pub fn receive_many<'a>(
        &mut self,
        socket: Indexed<'_>,
        lent: impl Iterator<Item = &'a mut [u8]>,
        told: bool,
    ) -> io::Result<Ended> {
        self.enable()?;
        let buffers = self.buffers.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        buffers.lend(lent.take(MAX_BURST));
        self.burst.begin(told);
        let message = &raw const self.burst.message;
        let flags = self.flags.cast_unsigned();
        let many = match socket.known(self.files) {
            Ok(known) => opcode::RecvMsgMulti::new(known, message, BUFFER_GROUP).flags(flags).build(),
            Err(unknown) => opcode::RecvMsgMulti::new(unknown, message, BUFFER_GROUP).flags(flags).build(),
        };
        let many = many.user_data(tag(BURST, 0));
        // SAFETY: the entry points to `message`, which outlives its submission. It makes the kernel write to the buffers that
        // were lent; their borrow `'a` outlives this function, and `complete` waits until the request has ended.
        unsafe { self.ring.submission().push(&many) }.map_err(|_| io::ErrorKind::StorageFull)?;
        self.complete(1)?;
        if let Some(buffers) = &mut self.buffers {
            buffers.withdraw(self.burst.arrived.len());
        }
        if self.burst.out_of_order {
            // What the kernel's head of the buffer ring is can no longer be known.
            self.buffers = None;
        }
        Ok(Ended::from(self.burst.ended))
    }

    /// What the last [`receive_many`](Self::receive_many) put into its buffers, in their order.
    #[must_use]
    pub fn burst(&self) -> &[Received] {
        &self.burst.arrived
    }

    /// Has the kernel note whenever `socket` gets something, until the ring is dropped. Its index is `watched`.
    ///
    /// # Errors
    /// As [`receive_each`](Self::receive_each).
    pub fn watch(&mut self, socket: &Socket, index: u32) -> io::Result<()> {
        self.enable()?;
        let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(tag(WATCH, index));
        // SAFETY: a poll has no pointers, and the kernel keeps the socket open for as long as it is armed.
        unsafe { self.ring.submission().push(&poll) }.map_err(|_| io::ErrorKind::StorageFull)?;
        self.watched = self.watched.max(index + 1);
        self.ready.reserve(self.watched as usize);
        self.unwatched.reserve(self.watched as usize);
        self.enter(0)?;
        self.reap();
        Ok(())
    }

    /// Learns which watched sockets got something since: a look at memory while there are none, a system call otherwise.
    ///
    /// # Errors
    /// As [`receive_each`](Self::receive_each).
    #[inline]
    pub fn refresh(&mut self) -> io::Result<()> {
        self.enable()?;
        let submission = self.ring.submission();
        let deferred = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if deferred || !self.ring.completion().is_empty() {
            self.enter(0)?;
            self.reap();
        }
        Ok(())
    }

    /// The watched sockets that may have something, as of the last [`refresh`](Self::refresh).
    #[must_use]
    pub fn ready(&self) -> &[u32] {
        &self.ready
    }

    /// A socket turned out to be empty: it is ready again when something comes.
    pub fn forget(&mut self, index: u32) {
        self.ready.retain(|&ready| ready != index);
    }

    /// A watch that the kernel has ended, to be begun anew.
    pub fn unwatched(&mut self) -> Option<u32> {
        self.unwatched.pop()
    }

    /// The ring begins to belong to this thread.
    #[inline]
    fn enable(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.owner {
            Some(owner) if owner == this_thread() => Ok(()),
            // The entrance is this ring's on its own thread only.
            Some(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
            None => {
                self.ring.submitter().register_enable_rings()?;
                self.owner = Some(this_thread());
                self.entrance = self.entrance.registered();
                Ok(())
            }
        }
    }

    /// Submits what is queued and returns when `count` receives have ended.
    fn complete(&mut self, count: u32) -> io::Result<()> {
        let mut done = 0;
        let mut entered = self.enter(0);
        while entered.is_ok() {
            done += self.reap();
            if done >= count {
                return Ok(());
            }
            self.cancel();
            entered = self.enter(1);
        }
        // What the kernel refuses for good, it refuses before it takes anything from the queue.
        // Had it taken some, the buffers of the caller would be the kernel's for ever.
        if self.ring.submission().len() < count as usize {
            std::process::abort();
        }
        entered
    }

    /// Enters the kernel: it takes what is queued, posts completions, and waits until there are `want` of them.
    #[inline]
    fn enter(&mut self, want: u32) -> io::Result<()> {
        let submission = self.ring.submission();
        let queued = u32::try_from(submission.len()).unwrap_or(u32::MAX);
        // Receives complete while they are submitted; only what was deferred, or was left pending, needs the rest.
        let flags = if want > 0 || queued == 0 || submission.taskrun() { GETEVENTS } else { 0 };
        drop(submission);
        match self.entrance.enter(queued, want, flags) {
            Ok(()) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal; or the completion queue is full or memory short, and to make room is all that helps.
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => {
                    self.broken = true;
                    Err(error)
                }
            },
        }
    }

    /// Takes what has completed, and returns how many receives ended.
    fn reap(&mut self) -> u32 {
        let mut done = 0;
        for completion in self.ring.completion() {
            let (kind, index) = untag(completion.user_data());
            let more = cqueue::more(completion.flags());
            match kind {
                LOOK => self.slots[index as usize].result = completion.result(),
                BURST => {
                    if let Some(buffers) = &self.buffers {
                        self.burst.arrive(&completion, buffers);
                    }
                }
                _ => {
                    if !self.ready.contains(&index) {
                        self.ready.push(index);
                    }
                    if !more {
                        self.unwatched.push(index);
                    }
                }
            }
            done += u32::from(kind != WATCH && !more);
        }
        done
    }

    /// Ends all receives that a kernel has left pending, and the watches with them, which are then begun anew.
    #[cold]
    pub(crate) fn cancel(&mut self) {
        // A failure (nothing was there to cancel) changes nothing: whoever waits, waits for what ends by itself.
        let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
    }
}

impl Drop for Ring {
    /// Lets go of the sockets, which would otherwise stay open until the kernel finds time to take the ring apart.
    ///
    /// On another thread than the ring's that is what happens, since only its own may do this.
    fn drop(&mut self) {
        if self.owner == Some(this_thread()) && !self.broken {
            self.cancel();
            let _ = self.enter(0);
            let _ = self.ring.submitter().unregister_files();
            self.entrance.unregister(&self.ring);
        }
    }
}

impl Indexed<'_> {
    /// How a request names it: by its index below `files`, or by its descriptor.
    #[inline]
    fn known(self, files: u32) -> Result<Fixed, Fd> {
        if self.index < files { Ok(Fixed(self.index)) } else { Err(Fd(self.socket.as_raw_fd())) }
    }
}

// SAFETY: the pointers in the slots, in the burst and in the buffers are written before each use and mean nothing in between;
// the kernel itself refuses a second thread.
unsafe impl Send for Ring {}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, broken, watched, ready, .. } = self;
        write!(f, "Ring {{ owner: {owner:?}, broken: {broken}, watched: {watched}, ready: {ready:?} }}")
    }
}

impl Slot {
    fn new() -> Self {
        let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let message = header(&mut data);
        let (from, control) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        Self { from, control, data, message, result: -libc::EAGAIN }
    }

    /// The message for a receive into `into`.
    fn ask(&mut self, into: &mut [u8], told: bool) -> *mut libc::msghdr {
        self.data = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        self.message = header(&mut self.data);
        self.message.msg_name = self.from.as_mut_ptr().cast();
        self.message.msg_namelen = ADDRESS_BYTES;
        if told {
            self.message.msg_control = self.control.as_mut_ptr().cast();
            self.message.msg_controllen = mem::size_of::<ControlBuffer>() as _;
        }
        self.result = -libc::EAGAIN;
        &raw mut self.message
    }

    #[inline]
    fn answer(&self) -> io::Result<Option<Received>> {
        let Ok(len) = usize::try_from(self.result) else { return none_or_error(-self.result) };
        // SAFETY: the receive succeeded on a UDP socket, so the kernel has written a whole source address of its family.
        let from = unsafe { self.from.assume_init_ref() }.endpoint();
        let truncated = self.message.msg_flags & libc::MSG_TRUNC != 0;
        Ok(Some(Received { len, from, segment: segment_of(&self.message), truncated }))
    }
}

impl Burst {
    fn new() -> Self {
        let message = header(&mut libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });
        Self { message, arrived: Vec::with_capacity(MAX_BURST), ended: None, out_of_order: false }
    }

    fn begin(&mut self, told: bool) {
        self.message.msg_iov = std::ptr::null_mut();
        self.message.msg_iovlen = 0;
        self.message.msg_namelen = ADDRESS_BYTES;
        self.message.msg_controllen = control_bytes(told) as _;
        self.arrived.clear();
        self.ended = None;
    }

    /// Takes one completion: a datagram, or the end, or both.
    fn arrive(&mut self, completion: &cqueue::Entry, buffers: &Buffers) {
        if !cqueue::more(completion.flags()) {
            self.ended = Some(completion.result());
        }
        let Some(buffer) = cqueue::buffer_select(completion.flags()) else { return };
        let position = usize::from(buffer);
        let Ok(len) = usize::try_from(completion.result()) else { return };
        let received = buffers.filled(position, len).and_then(|bytes| parse(bytes, &self.message));
        match received {
            Some(received) if position == self.arrived.len() => self.arrived.push(received),
            _ => self.out_of_order = true,
        }
    }
}

/// Reads what the kernel wrote before a datagram's payload: how long what is, the address, the control messages.
fn parse(bytes: &[u8], asked: &libc::msghdr) -> Option<Received> {
    let out = RecvMsgOut::parse(bytes, asked).ok()?;
    let from = endpoint_in(out.name_data())?;
    let mut control = ControlBuffer::default();
    let told = out.control_data();
    control.0.get_mut(..told.len())?.copy_from_slice(told);
    let mut message = header(&mut libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = told.len() as _;
    let len = out.payload_data().len();
    Some(Received { len, from, segment: segment_of(&message), truncated: out.is_payload_truncated() })
}

impl From<Option<i32>> for Ended {
    fn from(result: Option<i32>) -> Self {
        match result.map(i32::wrapping_neg) {
            Some(libc::EAGAIN | libc::ECANCELED) => Self::Empty,
            Some(libc::ENOBUFS) => Self::OutOfBuffers,
            Some(error) if error > 0 => Self::Failed(io::Error::from_raw_os_error(error)),
            _ => Self::Early,
        }
    }
}

/// A number that no other thread of the process has or had.
#[inline]
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the number only has to be different each time.
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|&number| number)
}

/// How many bytes the kernel puts before a datagram that [`Ring::receive_many`] takes.
#[must_use]
pub const fn burst_head(told: bool) -> usize {
    OUT_BYTES + ADDRESS_BYTES as usize + control_bytes(told)
}

const fn control_bytes(told: bool) -> usize {
    if told { mem::size_of::<ControlBuffer>() } else { 0 }
}

const fn tag(kind: u32, index: u32) -> u64 {
    (kind as u64) << 32 | index as u64
}

#[expect(clippy::cast_possible_truncation, reason = "two halves")]
const fn untag(tag: u64) -> (u32, u32) {
    ((tag >> 32) as u32, tag as u32)
}

/// What a receive that failed with `error` means: nothing there, or an error.
#[inline]
fn none_or_error(error: i32) -> io::Result<Option<Received>> {
    match error {
        libc::EAGAIN | libc::EINTR | libc::ECANCELED => Ok(None),
        _ => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The kinds of request, in the upper half of their tags.
const LOOK: u32 = 0;
const BURST: u32 = 1;
const WATCH: u32 = 2;
/// Twice what one call queues, since a watch may wait in the queue while memory is short.
const SUBMISSIONS: u32 = 2 * MAX_LOOKS as u32;
/// Room for a completion of every look and every watch, several times over.
const COMPLETIONS: u32 = 1024;
/// IORING_ENTER_GETEVENTS: runs deferred work, then waits for what is wanted.
const GETEVENTS: u32 = 1;
/// Sockets beyond go by their descriptors.
const MAX_FILES: u32 = 64;
/// Bytes of the kernel's io_uring_recvmsg_out: four 32-bit numbers.
const OUT_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Endpoint;

    /// As on a kernel that arms a poll although it was asked not to.
    #[test]
    fn a_receive_that_stays_pending_is_cancelled_and_a_watch_survives_that() {
        let Ok(mut ring) = Ring::open() else { return };
        ring.flags = 0;
        let sockets = [(); 3].map(|()| Socket::open(crate::id::Family::V4).unwrap());
        sockets.iter().for_each(|socket| socket.bind(Endpoint("127.0.0.1:0".parse().unwrap())).unwrap());
        ring.watch(&sockets[2], 7).unwrap();
        let mut memory = [[0; 100]; 2];
        let mut lent = memory.iter_mut().map(|buffer| &mut buffer[..]);
        let both = [0, 1].map(|index| Indexed { index, socket: &sockets[index as usize] });
        ring.receive_each(both.into_iter().zip(&mut lent), true).unwrap();
        assert_eq!((ring.answer(0).unwrap(), ring.answer(1).unwrap()), (None, None));
        let lent = memory.iter_mut().map(|buffer| &mut buffer[..]);
        assert!(matches!(ring.receive_many(both[0], lent, true).unwrap(), Ended::Empty));
        assert_eq!(ring.burst(), []);
        let ended = ring.unwatched().unwrap();
        ring.forget(ended);
        assert_eq!((ended, ring.ready()), (7, [].as_slice()));
    }
}
