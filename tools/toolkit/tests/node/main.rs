//! Nodes over real UDP on this host: several of them in one thread, polled in turn, and every wait bounded.

mod calls;
mod clients;
mod cluster;
mod context;
mod exchange;
mod families;
mod handler;
mod idle;
mod lag;
mod losses;
mod peers;
mod pressure;
mod published;
mod readers;
mod refusals;
mod sends;
mod state;
mod strangers;
