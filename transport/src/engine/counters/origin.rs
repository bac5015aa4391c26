//! Which process wrote a file, and whether it is still there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// A process, named so that no later one is mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Its id.
    pub process: u32,
    /// When it began, in ticks since the host's boot; 0 where that is not known.
    pub began: u64,
    /// The host's boot; 0 where that is not known.
    pub host: u64,
    /// In which namespace its id means something; 0 where that is not known.
    pub namespace: u64,
}

/// Whether a process is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is.
    Alive,
    /// It is not, or its id belongs to another one by now.
    Dead,
    /// That cannot be told from here: it is in another namespace, or `/proc` does not say.
    Unknown,
}

impl Origin {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        let process = std::process::id();
        Self { process, began: began(process).unwrap_or(0), host: host(), namespace: namespace() }
    }

    /// Whether it is still there, as seen from `here`.
    #[must_use]
    pub fn life(&self, here: &Self) -> Life {
        if self.host != here.host && self.host != 0 && here.host != 0 {
            return Life::Dead;
        }
        if self.namespace != here.namespace || self.namespace == 0 || self.began == 0 || here.began == 0 {
            return Life::Unknown;
        }
        match began(self.process) {
            Some(began) if began == self.began => Life::Alive,
            _ => Life::Dead,
        }
    }
}

/// The 22nd field of its `stat`. The name before it is in parentheses, and may have any characters.
fn began(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // A process that has ended and was not asked about does nothing any more.
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn host() -> u64 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_id() {
        let here = Origin::here();
        assert!(here.began > 0 && here.host > 0 && here.namespace > 0, "{here:?}");
        assert_eq!(here.life(&here), Life::Alive);
        assert_eq!(Origin { began: here.began + 1, ..here }.life(&here), Life::Dead, "its id is used again");
        assert_eq!(Origin { host: here.host ^ 1, ..here }.life(&here), Life::Dead, "before the host's boot");
        assert_eq!(Origin { namespace: here.namespace ^ 1, ..here }.life(&here), Life::Unknown);
        assert_eq!(Origin { namespace: 0, ..here }.life(&here), Life::Unknown);
    }

    #[test]
    fn who_has_ended_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let here = Origin::here();
        let other = Origin { process: child.id(), began: began(child.id()).unwrap(), ..here };
        assert_eq!(other.life(&here), Life::Alive);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(other.life(&here), Life::Dead);
    }
}
