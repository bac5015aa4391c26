#![allow(missing_docs)]
//! stub
use sistrum_ordering::Rank;
use sistrum_transport::time::Instant;
#[derive(Debug, Clone, Copy, PartialEq)] pub enum Suspicion { Heartbeat }
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectorTuning { pub suspicion: Suspicion, pub suspect_after_ns: u64 }
impl Default for DetectorTuning { fn default() -> Self { Self { suspicion: Suspicion::Heartbeat, suspect_after_ns: 500_000_000 } } }
impl DetectorTuning { pub fn check(&self) -> Result<(), String> { Ok(()) } pub fn heartbeat_ns(&self) -> u64 { self.suspect_after_ns / 5 } }
#[derive(Debug, Clone, Copy)]
pub enum Verdict { Suspect { rank: Rank, silence_ns: u64 }, HeardAgain { rank: Rank } }
#[derive(Debug)]
pub struct Detector { since: Instant, heard: Vec<Instant>, me: Rank, suspected: Vec<bool>, tuning: DetectorTuning, verdicts: Vec<Verdict>, next: Instant, again: Vec<bool> }
impl Detector {
    pub fn new(now: Instant, members: usize, me: Rank, tuning: DetectorTuning) -> Self {
        Self { since: now, heard: vec![now; members], me, suspected: vec![false; members], tuning, verdicts: Vec::new(), next: now, again: vec![false; members] }
    }
    pub fn carry(&mut self, rank: Rank, before: &Detector, was: Rank) {
        self.suspected[rank.0 as usize] = before.suspected[was.0 as usize];
    }
    pub fn look(&mut self, now: Instant, heard_at: &[Instant]) {
        self.next = now.plus_ns(self.tuning.suspect_after_ns / 8);
        for (rank, at) in heard_at.iter().enumerate() {
            if rank == self.me.0 as usize { continue; }
            let at = (*at).max(self.since);
            if self.suspected[rank] {
                if at > self.heard[rank] && !self.again[rank] { self.again[rank] = true; self.verdicts.push(Verdict::HeardAgain { rank: Rank(rank as u16) }); }
            } else {
                self.heard[rank] = self.heard[rank].max(at);
                if now.since_ns(self.heard[rank]) > self.tuning.suspect_after_ns { self.suspected[rank] = true; self.again[rank] = false; self.verdicts.push(Verdict::Suspect { rank: Rank(rank as u16), silence_ns: now.since_ns(at) }); }
            }
        }
    }
    pub fn poll_timeout(&self) -> Option<Instant> { Some(self.next) }
    pub fn poll_verdict(&mut self) -> Option<Verdict> { self.verdicts.pop() }
    pub fn suspect(&mut self, now: Instant, rank: Rank) { self.suspected[rank.0 as usize] = true; self.again[rank.0 as usize] = false; self.heard[rank.0 as usize] = now; }
    pub fn trust(&mut self, now: Instant, rank: Rank) { self.suspected[rank.0 as usize] = false; self.heard[rank.0 as usize] = now; }
    pub fn is_suspected(&self, rank: Rank) -> bool { self.suspected[rank.0 as usize] }
}
