//! One io_uring for the receiving half of a medium, and everything about it that is unsafe.
//!
//! **No buffer is the kernel's beyond the call that lends it.** Every receive carries MSG_DONTWAIT, which makes io_uring
//! finish it while it is submitted, with -EAGAIN where nothing is there, instead of arming a poll for it; a multishot
//! then ends when the socket is empty. So the buffers are borrowed, not handed over, and there is no table of buffers
//! in flight to keep. Should a kernel leave a receive pending nevertheless, it is cancelled and reaped before the call
//! returns. What stays armed between calls are polls, which have no buffer.

use super::message::{ADDRESS_BYTES, ControlBuffer, Received, endpoint_of, header, segment_of};
use super::socket::Socket;
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed, RecvMsgOut};
use io_uring::{IoUring, cqueue, opcode};
use memmap2::MmapMut;
use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

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
    /// An enter failed: what was queued then may still be in the queue, with pointers that are no longer good.
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

/// What io_uring_enter is called with: the ring's descriptor, or its place in the thread's own table of rings.
#[derive(Debug, Clone, Copy)]
struct Entrance {
    fd: RawFd,
    flags: u32,
}

/// What one one-shot receive needs beside its buffer. The kernel has pointers into it during `receive_each` only.
struct Slot {
    from: MaybeUninit<libc::sockaddr_in>,
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
        let entrance = Entrance { fd: ring.as_raw_fd(), flags: 0 };
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
        for (slot, (socket, into)) in self.slots.iter_mut().zip(looks) {
            let message = slot.ask(into, told);
            let look = match socket.known(self.files) {
                Ok(known) => opcode::RecvMsg::new(known, message).flags(flags).build(),
                Err(unknown) => opcode::RecvMsg::new(unknown, message).flags(flags).build(),
            };
            let look = look.user_data(tag(LOOK, queued));
            // SAFETY: the entry points to `into` and to a slot that does not move (its slice is boxed). Both stay valid and
            // untouched until the request has completed, which `complete` waits for; see the head of this file.
            unsafe { self.ring.submission().push(&look) }.map_err(|_| full(&mut self.broken))?;
            queued += 1;
        }
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
        unsafe { self.ring.submission().push(&many) }.map_err(|_| full(&mut self.broken))?;
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
        unsafe { self.ring.submission().push(&poll) }.map_err(|_| full(&mut self.broken))?;
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
                self.entrance = Entrance::registered(self.entrance.fd).unwrap_or(self.entrance);
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
    fn cancel(&mut self) {
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
            self.entrance.unregister();
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

impl Entrance {
    /// An entrance to the ring `fd` by this thread's table; it has 16 places.
    fn registered(fd: RawFd) -> Option<Self> {
        let mut place = RingPlace { offset: u32::MAX, reserved: 0, data: u64::from(fd.cast_unsigned()) };
        // SAFETY: the kernel reads and writes one structure of this form, which outlives the call.
        let status =
            unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut place, 1) };
        (status == 1).then_some(Self { fd: place.offset.cast_signed(), flags: ENTER_REGISTERED_RING })
    }

    fn unregister(self) {
        if self.flags & ENTER_REGISTERED_RING == 0 {
            return;
        }
        let mut place = RingPlace { offset: self.fd.cast_unsigned(), reserved: 0, data: 0 };
        let register = REGISTER_USE_REGISTERED_RING | UNREGISTER_RING_FDS;
        // SAFETY: as in `registered`.
        unsafe { libc::syscall(libc::SYS_io_uring_register, self.fd, register, &raw mut place, 1) };
    }

    /// The system call, without a signal mask.
    #[inline]
    fn enter(self, queued: u32, want: u32, flags: u32) -> io::Result<()> {
        let (null, size) = (std::ptr::null::<libc::sigset_t>(), 0_usize);
        // SAFETY: whoever queued an entry has promised that its pointers are valid; the call has none of its own.
        let status = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, self.fd, queued, want, self.flags | flags, null, size)
        };
        if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
        // SAFETY: the receive succeeded on an AF_INET socket, so the kernel has written an IPv4 source address.
        let from = endpoint_of(unsafe { self.from.assume_init_ref() });
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
    let address = out.name_data();
    if address.len() < mem::size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: there are enough bytes, any of which make a valid sockaddr_in; nothing is asked of their alignment.
    let from = endpoint_of(&unsafe { address.as_ptr().cast::<libc::sockaddr_in>().read_unaligned() });
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

/// What the kernel reads to put a ring into a thread's table, its io_uring_rsrc_update.
#[repr(C)]
struct RingPlace {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// A number that no other thread of the process has or had.
#[inline]
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the number only has to be different each time.
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|&number| number)
}

/// The ring of buffers that multishot receives choose from: descriptors in memory that the kernel reads.
struct Buffers {
    /// One page; the kernel holds it for as long as it needs it.
    descriptors: MmapMut,
    /// How many buffers were ever used: where the kernel takes the next one.
    head: u16,
    /// Address and length of each buffer that is lent now.
    lent: Vec<(*mut u8, usize)>,
}

impl Buffers {
    fn register(ring: &IoUring) -> io::Result<Self> {
        let mut descriptors = MmapMut::map_anon(DESCRIPTORS * mem::size_of::<BufRingEntry>())?;
        let at = descriptors.as_mut_ptr() as u64;
        // SAFETY: the memory is as large as said, aligned to a page, and zero: the kernel finds no buffer in it. It pins the
        // page, so that the mapping may go before the ring does.
        unsafe { ring.submitter().register_buf_ring_with_flags(at, DESCRIPTORS as u16, BUFFER_GROUP, 0) }?;
        Ok(Self { descriptors, head: 0, lent: Vec::with_capacity(MAX_BURST) })
    }

    /// Puts `buffers` into the ring.
    fn lend<'a>(&mut self, buffers: impl Iterator<Item = &'a mut [u8]>) {
        self.lent.clear();
        for (position, buffer) in (0..).zip(buffers) {
            self.describe(position, (buffer.as_mut_ptr(), buffer.len()));
            self.lent.push((buffer.as_mut_ptr(), buffer.len()));
        }
        self.publish(self.lent.len() as u16);
    }

    /// Takes what was lent out of the ring again, of which the first `used` have been used: no descriptor outlives a loan.
    fn withdraw(&mut self, used: usize) {
        for position in 0..self.lent.len() as u16 {
            self.describe(position, (std::ptr::null_mut(), 0));
        }
        self.lent.clear();
        self.head = self.head.wrapping_add(used as u16);
        self.publish(0);
    }

    /// The first `len` bytes of the buffer at `position`.
    fn filled(&self, position: usize, len: usize) -> Option<&[u8]> {
        let (at, capacity) = *self.lent.get(position)?;
        // SAFETY: the buffer is lent, so it is borrowed exclusively by the caller of `receive_many` until after `withdraw`;
        // the kernel has ended writing to it, since it has posted its completion.
        (len <= capacity).then(|| unsafe { std::slice::from_raw_parts(at, len) })
    }

    fn describe(&mut self, position: u16, (at, len): (*mut u8, usize)) {
        let index = usize::from(self.head.wrapping_add(position)) % DESCRIPTORS;
        // SAFETY: the mapping has DESCRIPTORS entries, and the index is smaller.
        let entry = unsafe { self.descriptors.as_mut_ptr().cast::<BufRingEntry>().add(index) };
        // SAFETY: the mapping is aligned for its entries, all of whose bits may be anything. No request is running, so the
        // kernel does not read it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(at as u64);
        entry.set_len(u32::try_from(len).unwrap_or(u32::MAX));
        entry.set_bid(position);
    }

    /// Lets the kernel see `count` buffers from the head on.
    fn publish(&mut self, count: u16) {
        // SAFETY: the base of the mapping is that of the ring.
        let tail = unsafe { BufRingEntry::tail(self.descriptors.as_ptr().cast()) };
        // SAFETY: the tail is a u16 within the mapping, aligned, and shared with nobody but the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: pairs with the kernel's acquire of the tail, before which it reads no descriptor.
        tail.store(self.head.wrapping_add(count), Ordering::Release);
    }
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

/// An entry found no room: what was queued before it must never be submitted.
#[cold]
fn full(broken: &mut bool) -> io::Error {
    *broken = true;
    io::ErrorKind::StorageFull.into()
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
const BUFFER_GROUP: u16 = 0;
/// A power of two that is larger than a burst, so that an empty ring and a full one differ.
const DESCRIPTORS: usize = 64;
const _: () = assert!(DESCRIPTORS > MAX_BURST && DESCRIPTORS.is_power_of_two());
/// IORING_ENTER_GETEVENTS: runs deferred work, then waits for what is wanted.
const GETEVENTS: u32 = 1;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
const REGISTER_USE_REGISTERED_RING: u32 = 1 << 31;
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
        let sockets = [(); 3].map(|()| Socket::open().unwrap());
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
