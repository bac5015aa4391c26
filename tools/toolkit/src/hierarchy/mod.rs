//! A hierarchy of groups: a *root* that knows the leaf groups and which of them are there, and who asks by it.
//!
//! ```text
//!   who asks: a client of all           root: a few members               leaf groups, as many as wanted
//!     Router  -- Map ------------------>  Root: which leaves are up   ---->  looked at from outside by all of the root;
//!             -- key, request -------------------------------------------->  its eldest member casts what has changed
//!     the leaf of the key is asked itself; the root only says which one that is
//! ```
//! The root is a group with a [service](crate::Service): who asks it is its client, its map is a replicated state that those who join take
//! over, and it goes on as long as a majority of it does. Nothing that is asked of a leaf goes through it.
//!
//! After the hierarchical process groups of Isis, in which a root sends who asks on to a leaf.

mod map;
mod message;
mod root;
mod router;

pub use map::{Leaf, LeafError, LeafMap};
pub use root::{Root, RootEvent};
pub use router::{RouteError, RouteId, Router, RouterEvent, TellError};
