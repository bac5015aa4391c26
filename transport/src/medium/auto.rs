//! The best medium that works here, and why it was taken.

use super::{
    Arrival, Capabilities, Channel, FanOut, Fault, FaultOptions, Medium, MediumCounters, MediumError, Sent,
    Sockets, Udp, UdpConfig,
};
use crate::id::Endpoint;
use crate::log::RxPool;
use crate::protocol::Target;
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
}

/// A medium that was chosen at run time.
#[derive(Debug)]
pub enum Any {
    /// Plain UDP sockets.
    Udp(Udp),
    /// The same with faults injected.
    Faulty(Fault<Udp>),
}

/// Opens what `choice` asks for, and says in a sentence which medium that is and why.
///
/// # Errors
/// As [`Udp::open`].
pub fn open(choice: MediumChoice, config: UdpConfig) -> Result<(Any, String), MediumError> {
    let asked_offload = config.offload;
    let udp = Udp::open(config)?;
    let why = match choice {
        MediumChoice::Auto => "the best of the media that there are so far",
        MediumChoice::Udp => "as asked",
    };
    let offload = match udp.capabilities() {
        able if able.coalesces => {
            format!("segmentation offload, up to {} blocks a send", able.max_run_blocks)
        }
        _ if asked_offload => "no segmentation offload: this kernel has none".to_owned(),
        _ => "no segmentation offload: switched off".to_owned(),
    };
    Ok((Any::Udp(udp), format!("udp ({why}), with {offload}")))
}

impl Any {
    /// The same medium with faults on what it receives, drawn from `seed`.
    #[must_use]
    pub fn with_faults(self, options: FaultOptions, seed: u64) -> Self {
        match self {
            Self::Udp(udp) => Self::Faulty(Fault::new(udp, options, seed)),
            Self::Faulty(mut faulty) => {
                faulty.set_options(options);
                Self::Faulty(faulty)
            }
        }
    }
}

macro_rules! whichever {
    ($any:expr, $medium:ident => $call:expr) => {
        match $any {
            Any::Udp($medium) => $call,
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
}

impl FromStr for MediumChoice {
    type Err = MediumError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "udp" => Ok(Self::Udp),
            _ => Err(MediumError::Unsupported(format!("medium {name:?} is not known: auto or udp"))),
        }
    }
}

impl fmt::Display for MediumChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Udp => "udp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_explained() {
        let (medium, why) =
            open(MediumChoice::Auto, UdpConfig { offload: false, ..UdpConfig::default() }).unwrap();
        assert_eq!(medium.capabilities().max_run_blocks, 1);
        assert!(why.starts_with("udp (the best") && why.ends_with("switched off"), "{why}");
    }

    #[test]
    fn choices_have_names() {
        assert!(
            ["auto", "udp"].iter().all(|name| name.parse::<MediumChoice>().unwrap().to_string() == *name)
        );
        assert!("tcp".parse::<MediumChoice>().unwrap_err().to_string().contains("tcp"));
    }
}
