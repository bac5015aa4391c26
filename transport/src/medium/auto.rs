//! The best medium that works here, and why it was taken.

use super::{
    Arrival, Capabilities, Channel, FanOut, Fault, FaultOptions, Medium, MediumCounters, MediumError, Sent,
    Sockets, Udp, UdpConfig,
    uring::{self, Looks, Receiver, Sink},
};
use crate::id::Endpoint;
use crate::log::RxPool;
use crate::protocol::Target;
use crate::sys::uring::Ring;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which medium is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediumChoice {
    /// The best that works.
    #[default]
    Auto,
    /// Plain UDP sockets.
    Udp,
    /// UDP sockets that are received from by io_uring.
    Uring,
}

impl MediumChoice {
    /// Every choice, in the order of their mention.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Udp, Self::Uring];

    /// Its name in options and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Udp => "udp",
            Self::Uring => uring::NAME,
        }
    }
}

/// A medium that was chosen at run time.
#[derive(Debug)]
pub enum Any {
    /// As it is.
    Plain(Chosen),
    /// With faults injected.
    Faulty(Fault<Chosen>),
}

/// UDP sockets, and what receives from them: themselves, or a ring.
#[derive(Debug)]
pub struct Chosen {
    // Before the sockets, as in `Uring`.
    by_ring: Option<Receiver>,
    udp: Udp,
    /// A ring for later, when there are many sockets.
    spare: Option<Ring>,
    /// Which medium it is and why, in a sentence.
    description: String,
}

/// Opens what `choice` asks for; [`Any::description`] says which medium that is and why.
///
/// # Errors
/// As [`Udp::open`] and [`Uring::open`](super::Uring::open); a choice of the best falls back to udp where io_uring is forbidden.
pub fn open(choice: MediumChoice, config: UdpConfig) -> Result<Any, MediumError> {
    let (mut by_ring, mut spare) = (None, None);
    let why = match choice {
        MediumChoice::Udp => "as asked".to_owned(),
        MediumChoice::Uring => {
            by_ring = Some(Receiver::new(uring::ring()?, Looks::ByLoad));
            "as asked".to_owned()
        }
        MediumChoice::Auto => match uring::ring() {
            Ok(ring) => {
                spare = Some(ring);
                format!("the fastest below {CROSSOVER} groups, then uring")
            }
            Err(refused) => refused.to_string(),
        },
    };
    let mut chosen = Chosen { by_ring, udp: Udp::open(config)?, spare, description: String::new() };
    chosen.describe(&why);
    Ok(Any::Plain(chosen))
}

impl Any {
    /// The same medium with faults on what it receives, drawn from `seed`.
    #[must_use]
    pub fn with_faults(self, options: FaultOptions, seed: u64) -> Self {
        match self {
            Self::Plain(chosen) => Self::Faulty(Fault::new(chosen, options, seed)),
            Self::Faulty(mut faulty) => {
                faulty.set_options(options);
                Self::Faulty(faulty)
            }
        }
    }

    /// Which medium it is at present, and why, in a sentence.
    #[must_use]
    pub fn description(&self) -> &str {
        match self {
            Self::Plain(chosen) => &chosen.description,
            Self::Faulty(faulty) => &faulty.inner().description,
        }
    }
}

impl Chosen {
    fn describe(&mut self, why: &str) {
        if self.by_ring.is_some() {
            self.udp.capabilities.name = uring::NAME;
        }
        let able = self.udp.capabilities();
        let offload = if able.coalesces {
            format!("segmentation offload, up to {} blocks a send", able.max_run_blocks)
        } else if self.udp.wants_offload() {
            "no segmentation offload: this kernel has none".to_owned()
        } else {
            "no segmentation offload: switched off".to_owned()
        };
        self.description = format!("{} ({why}), with {offload}", able.name);
    }

    /// Goes over to the ring once there are so many sockets that it is faster; everything that is open stays open.
    fn reconsider(&mut self) {
        if self.udp.data.len() < CROSSOVER {
            return;
        }
        if let Some(ring) = self.spare.take() {
            self.by_ring = Some(Receiver::new(ring, Looks::ByLoad));
            self.describe(&format!("the fastest from {CROSSOVER} groups on"));
        }
    }
}

impl Medium for Chosen {
    fn capabilities(&self) -> &Capabilities {
        self.udp.capabilities()
    }

    fn local(&self) -> Endpoint {
        self.udp.local()
    }

    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError> {
        let channel = self.udp.open_channel(fan_out)?;
        self.reconsider();
        Ok(channel)
    }

    fn close_channel(&mut self, channel: Channel) {
        // The ring keeps open what it knows, by its number.
        if self.by_ring.as_mut().is_none_or(Receiver::renew) {
            self.udp.close_channel(channel);
        }
    }

    fn relist(&mut self, channel: Channel, others: &[Endpoint]) {
        self.udp.relist(channel, others);
    }

    #[inline]
    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        sockets: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        match &mut self.by_ring {
            None => self.udp.receive(pool, inbox, sockets, quota),
            Some(receiver) => receiver.receive(&mut self.udp, sockets, &mut Sink { pool, inbox, quota }),
        }
    }

    #[inline]
    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        self.udp.send(to, run, segment)
    }

    fn wait(&mut self, limit: Duration) {
        self.udp.wait(limit);
    }

    fn counters(&self) -> MediumCounters {
        let receive_switches = self.by_ring.as_ref().map_or(0, Receiver::switches);
        MediumCounters { receive_switches, ..self.udp.counters() }
    }

    fn counted(&self) -> MediumCounters {
        let receive_switches = self.by_ring.as_ref().map_or(0, Receiver::switches);
        MediumCounters { receive_switches, ..self.udp.counted() }
    }
}

macro_rules! whichever {
    ($any:expr, $medium:ident => $call:expr) => {
        match $any {
            Any::Plain($medium) => $call,
            Any::Faulty($medium) => $call,
        }
    };
}

impl Medium for Any {
    fn capabilities(&self) -> &Capabilities {
        whichever!(self, medium => medium.capabilities())
    }

    fn local(&self) -> Endpoint {
        whichever!(self, medium => medium.local())
    }

    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError> {
        whichever!(self, medium => medium.open_channel(fan_out))
    }

    fn close_channel(&mut self, channel: Channel) {
        whichever!(self, medium => medium.close_channel(channel));
    }

    fn relist(&mut self, channel: Channel, others: &[Endpoint]) {
        whichever!(self, medium => medium.relist(channel, others));
    }

    #[inline]
    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        sockets: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        whichever!(self, medium => medium.receive(pool, inbox, sockets, quota))
    }

    #[inline]
    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        whichever!(self, medium => medium.send(to, run, segment))
    }

    fn wait(&mut self, limit: Duration) {
        whichever!(self, medium => medium.wait(limit));
    }

    fn counters(&self) -> MediumCounters {
        whichever!(self, medium => medium.counters())
    }

    fn counted(&self) -> MediumCounters {
        whichever!(self, medium => medium.counted())
    }
}

impl FromStr for MediumChoice {
    type Err = MediumError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|choice| choice.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            MediumError::Unsupported(format!("medium {name:?} is not one of {known}"))
        })
    }
}

impl fmt::Display for MediumChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// From so many multicast groups on, io_uring was not slower than plain sockets: round trips of 8.1 us by plain sockets and
/// 8.0 by a watching ring at 8 groups, 11.9 and 7.9 at 16, 8.7 and 10.1 at 5. See the head of [`uring`](super::uring).
const CROSSOVER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::log::PoolConfig;
    use crate::medium::udp::tests::fresh_group;
    use crate::medium::uring::tests::has_uring;

    #[test]
    fn the_choice_is_explained() {
        let config = UdpConfig { offload: false, ..UdpConfig::default() };
        let medium = open(MediumChoice::Udp, config.clone()).unwrap();
        assert_eq!(medium.capabilities().max_run_blocks, 1);
        assert_eq!(medium.description(), "udp (as asked), with no segmentation offload: switched off");
        if has_uring() {
            let medium = open(MediumChoice::Uring, config.clone()).unwrap();
            assert!(medium.description().starts_with("uring (as asked), "), "{}", medium.description());
            let medium = open(MediumChoice::Auto, config).unwrap();
            assert!(medium.description().starts_with("udp (the fastest below 8 groups, then uring), "));
        }
    }

    #[test]
    fn many_groups_are_received_from_by_a_ring_and_no_block_is_lost_on_the_way_over() {
        if !has_uring() {
            return;
        }
        let groups = [(); 9].map(|()| FanOut::multicast(fresh_group()));
        let mut sender = Udp::open(UdpConfig::default()).unwrap();
        let any = open(MediumChoice::Auto, UdpConfig::default()).unwrap();
        let mut reader = any.with_faults(FaultOptions::default(), 1);
        let mut pool = RxPool::new(PoolConfig { stride: 1408, strides: 32, slabs: 1 }).unwrap();
        for (at, group) in groups.into_iter().enumerate() {
            let channel = sender.open_channel(group.clone()).unwrap();
            reader.open_channel(group).unwrap();
            sender.send(Target::Channel(channel), &[7], 1).unwrap();
            let mut inbox = Vec::new();
            if at % 2 == 0 {
                reader.receive(&mut pool, &mut inbox, Sockets::All, 4).unwrap();
                assert_eq!(inbox.len(), if at == 0 { 1 } else { 2 });
            }
            let name = if at + 1 < CROSSOVER { "udp" } else { "uring" };
            assert_eq!((reader.capabilities().name, reader.description().starts_with(name)), (name, true));
            inbox.into_iter().for_each(|arrival| pool.release(arrival.block));
        }
        assert!(reader.description().contains("(the fastest from 8 groups on)"));
    }

    #[test]
    fn choices_have_names() {
        assert!(
            MediumChoice::ALL.iter().all(|choice| choice.name().parse::<MediumChoice>().unwrap() == *choice)
        );
        let unknown = "tcp".parse::<MediumChoice>().unwrap_err().to_string();
        assert_eq!(unknown, "medium \"tcp\" is not one of auto, udp, uring");
    }
}
