//! Who is in the group. Members come and go, and agree on each view; or all were given one list.
//!
//! **This crate reads no clock, draws no randomness, starts no thread and does no IO.**
#![forbid(unsafe_code)]

pub mod agreement;
mod call;
mod client;
mod clients;
mod config;
mod conflicts;
pub mod detector;
mod event;
mod flush;
mod group;
mod handshake;
mod holdup;
pub mod lag;
mod looking;
mod mail;
mod observer;
mod pairs;
mod post;
mod reader;
mod running;
pub mod step;
mod transfer;
mod views;
mod watch;

pub use call::{CallEvent, CallId, Calls, NotOfCalls, Request, Status, Want};
pub use client::Client;
pub use clients::{
    AskError, AskId, ClientEnd, ClientEvent, ClientRequest, ClientTuning, Clients, ClientsEvent, Dest,
    NotOfClients, Outcome, Served,
};
pub use config::{Entry, GroupConfig, ListError, Peers, rank_in};
pub use event::{Caster, Event};
pub use flush::FlushId;
pub use group::{Group, Sender, Session};
pub use handshake::Conflict;
pub use holdup::Holdup;
pub use looking::{ObserverConfig, Sighting};
pub use mail::MAX_LETTER_LEN;
pub use observer::{Observer, ObserverEvent};
pub use pairs::PairCounters;
pub use reader::{ReaderState, ViewReader, ViewReaderConfig, ViewReaderEvent};
pub use transfer::{Snapshot, StateBlock, StateTuning, TransferError};
pub use watch::{Fired, Until, WatchId, Watches};
