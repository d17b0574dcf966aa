//! What a supervisor's message asks for: the text of one sd_notify datagram, parsed.
//!
//! Pure. Fields are lines `KEY=value`; the first of a key counts and unknown ones are skipped, as in systemd.
//! Absent on purpose: `STATUS`, `STOPPING`, `MAINPID`, `WATCHDOG`, `FDPOLL`. The keeper shows no status, knows its
//! supervisor's pid from having forked it, has no watchdog and never polls what it holds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::store::Name;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// `BARRIER=1`: nothing but a descriptor to close once everything before is done.
    Barrier,
    /// Anything else.
    Notice {
        /// `READY=1`: start-up is finished.
        ready: bool,
        /// What to do to the store.
        change: Option<Change>,
        /// `EXTEND_TIMEOUT_USEC=`: so much more time is needed, from now on.
        extend: Option<Duration>,
        /// `X_KAVAL_UPGRADE=1`: the supervisor is about to end, to be followed by what its program's file is then.
        upgrade: Option<Upgrade>,
    },
}

/// What is to follow the supervisor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    /// `X_KAVAL_BINARY=`: another file than the program's.
    pub(super) binary: Option<OsString>,
}

/// A change to the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// `FDSTORE=1`: hold the descriptors that came along.
    Add(Name),
    /// `FDSTOREREMOVE=1`: drop all of that name; it wins over `FDSTORE=1`.
    Remove(Name),
    /// One of the two under a name that no descriptor may have.
    BadName(String),
}

impl Message {
    pub(super) fn parse(text: &[u8]) -> Self {
        let fields = Fields(text);
        if fields.has(b"BARRIER=1") {
            return Self::Barrier;
        }
        Self::Notice {
            ready: fields.has(b"READY=1"),
            change: fields.change(),
            extend: fields.extend(),
            upgrade: fields.upgrade(),
        }
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|byte| *byte == b'\n')
    }

    fn has(&self, field: &[u8]) -> bool {
        self.lines().any(|line| line == field)
    }

    fn value(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.lines().find_map(|line| line.strip_prefix(key))
    }

    fn name(&self) -> Result<Name, String> {
        let Some(value) = self.value(b"FDNAME=") else {
            return Ok(Name::unnamed());
        };
        let value = String::from_utf8_lossy(value);
        Name::new(&value).ok_or_else(|| value.into_owned())
    }

    fn extend(&self) -> Option<Duration> {
        let text = str::from_utf8(self.value(b"EXTEND_TIMEOUT_USEC=")?).ok()?;
        text.parse().ok().map(Duration::from_micros)
    }

    fn upgrade(&self) -> Option<Upgrade> {
        let binary = self.value(b"X_KAVAL_BINARY=").map(|path| OsString::from_vec(path.to_vec()));
        self.has(b"X_KAVAL_UPGRADE=1").then_some(Upgrade { binary })
    }

    fn change(&self) -> Option<Change> {
        let wrap = match (self.has(b"FDSTOREREMOVE=1"), self.has(b"FDSTORE=1")) {
            (true, _) => Change::Remove,
            (false, true) => Change::Add,
            (false, false) => return None,
        };
        Some(self.name().map_or_else(Change::BadName, wrap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(text: &str) -> Option<Change> {
        match Message::parse(text.as_bytes()) {
            Message::Barrier => panic!("{text:?} is a barrier"),
            Message::Notice { change, .. } => change,
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn descriptors_are_added_and_removed_by_name() {
        let added = change("FDSTORE=1\nFDNAME=m1\nFDPOLL=0\n");
        assert_eq!(added, Some(Change::Add(name("m1"))));
        let removed = change("FDSTOREREMOVE=1\nFDNAME=m1");
        assert_eq!(removed, Some(Change::Remove(name("m1"))));
    }

    #[test]
    fn order_of_fields_does_not_matter_and_the_first_name_counts() {
        let added = change("FDNAME=m1\nFDNAME=m2\nFDSTORE=1");
        assert_eq!(added, Some(Change::Add(name("m1"))));
    }

    #[test]
    fn descriptor_without_a_name_is_called_stored() {
        assert_eq!(change("FDSTORE=1"), Some(Change::Add(name("stored"))));
    }

    #[test]
    fn bad_name_is_reported_and_not_replaced() {
        for bad in ["a:b", "", "\u{7f}"] {
            let text = format!("FDSTORE=1\nFDNAME={bad}");
            assert_eq!(change(&text), Some(Change::BadName(bad.to_owned())));
        }
    }

    #[test]
    fn readiness_is_seen_beside_other_fields() {
        let ready = |text: &str| matches!(Message::parse(text.as_bytes()), Message::Notice { ready: true, .. });
        assert!(ready("READY=1"));
        assert!(ready("STATUS=up\nREADY=1\nMAINPID=1\n"));
        assert!(!ready("READY=0"));
        assert!(!ready("STATUS=READY=1"));
        assert!(!ready("STOPPING=1\nWATCHDOG=1"));
    }

    #[test]
    fn an_upgrade_is_to_the_same_path_or_to_another_one() {
        let asked = |text: &str| match Message::parse(text.as_bytes()) {
            Message::Notice { upgrade, .. } => upgrade,
            Message::Barrier => None,
        };
        assert_eq!(asked("X_KAVAL_UPGRADE=1\n"), Some(Upgrade { binary: None }));
        let other = Some(Upgrade { binary: Some("/a b=c".into()) });
        assert_eq!(asked("X_KAVAL_UPGRADE=1\nX_KAVAL_BINARY=/a b=c\n"), other);
        assert_eq!(asked("X_KAVAL_BINARY=/a\nREADY=1"), None);
    }

    #[test]
    fn more_time_is_asked_for_in_microseconds() {
        let extend = |text: &str| match Message::parse(text.as_bytes()) {
            Message::Notice { extend, .. } => extend,
            Message::Barrier => None,
        };
        assert_eq!(extend("STATUS=x\nEXTEND_TIMEOUT_USEC=1500\n"), Some(Duration::from_micros(1500)));
        assert_eq!((extend("EXTEND_TIMEOUT_USEC=-1"), extend("EXTEND_TIMEOUT_USEC=")), (None, None));
    }

    #[test]
    fn barrier_is_nothing_but_a_barrier() {
        assert_eq!(Message::parse(b"BARRIER=1\nFDSTORE=1"), Message::Barrier);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed(text in prop::collection::vec(any::<u8>(), 0..200)) {
            Message::parse(&text);
        }
    }
}
