//! What a node joins: as a member of a list or of views, as a reader, or to look on.

use super::Node;
use crate::join::Reads;
use crate::joined::Joined;
use crate::seeds::{Seeds, UnknownSeed};
use crate::{ClientTuning, Error, Group, GroupId, Result, StateTuning, TotalMode};
use sistrum_membership::{
    Client, Entry, GroupConfig, Observer, ObserverConfig, ReaderState, ViewReader, ViewReaderConfig,
};
use sistrum_ordering::{Reading, Seq, TotalOptions};
use sistrum_transport::medium::{FanOut, Medium};
use sistrum_transport::reliable::{Reader, ReaderConfig, RunLimits, Tuning};

impl Node {
    pub(super) fn join_as_member(
        &mut self,
        name: &str,
        entry: Entry,
        count: usize,
        fan_out: FanOut,
        mode: TotalMode,
    ) -> Result<Joined> {
        let joined = self.groups.len();
        let window = self.config.window_for(count, joined)?;
        let max_window = self.config.max_window_for(count, joined)?;
        let copies = if matches!(fan_out, FanOut::Unicast(_)) { count.saturating_sub(1) } else { 1 };
        let tuning = Tuning { pace: self.config.pace_of_each(copies)?, ..self.tuning(window) };
        let capabilities = self.cycle.medium().capabilities().clone();
        let config = GroupConfig {
            name: name.to_owned(),
            local: self.endpoint(),
            entry,
            boot: self.boot,
            channel: self.cycle.medium_mut().open_channel(fan_out)?,
            index: self.groups.next_index(),
            block: self.config.block_size,
            limits: RunLimits { blocks: capabilities.max_run_blocks, bytes: capabilities.max_run_bytes },
            receive_buffer: capabilities.receive_buffer,
            coalesces: capabilities.coalesces,
            max_window,
            pair_window: self.config.pair_window_for(count),
            tuning,
            order: TotalOptions { mode, ..TotalOptions::default() },
            start: Seq(0),
            seed: self.seed_of(name),
        };
        Ok(Joined::Member(Box::new(sistrum_membership::Group::new(config))))
    }

    pub(super) fn join_as_observer(
        &mut self,
        name: &str,
        seeds: &[String],
        fan_out: FanOut,
    ) -> Result<Joined> {
        let config = self.sight_of(name, seeds, fan_out)?;
        Ok(Joined::Observer(Box::new(Observer::new(config))))
    }

    /// Where a group is looked for.
    fn sight_of(&mut self, name: &str, seeds: &[String], fan_out: FanOut) -> Result<ObserverConfig> {
        let channel = match fan_out {
            FanOut::Unicast(_) => None,
            multicast => Some(self.cycle.medium_mut().open_channel(multicast)?),
        };
        let (local, index) = (self.endpoint(), self.groups.next_index());
        let (name, seeds) = (name.to_owned(), Seeds::literal(seeds, local));
        let (block, seed) = (self.config.block_size, self.seed_of(&name));
        Ok(ObserverConfig { name, local, seeds, channel, index, block, seed })
    }

    pub(super) fn join_as_client(
        &mut self,
        name: &str,
        seeds: &[String],
        fan_out: FanOut,
        tuning: ClientTuning,
    ) -> Result<Joined> {
        let config = self.sight_of(name, seeds, fan_out)?;
        Ok(Joined::Client(Box::new(Client::new(config, self.boot, tuning))))
    }

    pub(super) fn join_as_reader(&mut self, name: &str, fan_out: FanOut, reads: &Reads) -> Result<Joined> {
        if let FanOut::Unicast(_) = fan_out {
            let why =
                "a reader needs the group's multicast address: nobody would send to it by unicast".to_owned();
            return Err(Error::Config { key: "reader", why });
        }
        let window = self.config.window_for(2, self.groups.len())?;
        let channel = self.cycle.medium_mut().open_channel(fan_out)?;
        let (group, index, tuning) = (GroupId::of(name), self.groups.next_index(), self.tuning(window));
        let (block, seed) = (self.config.block_size, self.seed_of(name));
        let &Reads { is_causal, is_eager, of_peers, .. } = reads;
        if of_peers {
            let (name, local) = (name.to_owned(), self.endpoint());
            let state = reads.state.map(|state| self.state_of_reader(state));
            let config = ViewReaderConfig {
                name,
                local,
                channel,
                index,
                block,
                tuning,
                is_causal,
                is_eager,
                state,
                seed,
            };
            return Ok(Joined::ViewReader(Box::new(ViewReader::new(config))));
        }
        let config = ReaderConfig { group, index, block, tuning, seed };
        let order = if is_causal { Reading::causal() } else { Reading::default() };
        Ok(Joined::Reader(group, Box::new(Reader::ordered(config, order))))
    }

    fn state_of_reader(&self, tuning: StateTuning) -> ReaderState {
        let able = self.cycle.medium().capabilities();
        ReaderState {
            tuning,
            boot: self.boot,
            limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
            receive_buffer: able.receive_buffer,
            coalesces: able.coalesces,
            pair_window: self.config.pair_window_for(2),
        }
    }

    fn tuning(&self, window: usize) -> Tuning {
        // On a network, checksums cover the payload too.
        let check_payload = self.config.tuning.check_payload || !self.config.interface.is_loopback();
        Tuning { window, check_payload, ..self.config.tuning }
    }

    /// Closes what an observer has no use for any more.
    pub(super) fn close(&mut self, group: &Group) {
        let Some(joined) = self.groups.get_mut(group) else { return };
        let channel = joined.close();
        if joined.is_closed() {
            self.seeds.retain(|seeds| seeds.group != *group);
            self.cycle.forget(group.index);
            self.published.closed();
        }
        channel.into_iter().for_each(|channel| self.cycle.medium_mut().close_channel(channel));
    }

    /// The seeds of a group that are names of no place, as of their last look-up: beside the engine, every second as long as there is no view. Empty
    /// before the first one.
    #[must_use]
    pub fn unknown_seeds(&self, group: &Group) -> &[UnknownSeed] {
        let seeds = self.seeds.iter().find(|seeds| seeds.group == *group);
        seeds.map(Seeds::unknown).unwrap_or_default()
    }

    pub(crate) fn is_steady(&self, group: &Group) -> bool {
        self.groups.get(group).is_some_and(Joined::is_steady)
    }

    fn seed_of(&self, name: &str) -> u64 {
        self.seed ^ u64::from(GroupId::of(name).0)
    }
}
