//! What a supervisor's message asks for: the text of one sd_notify datagram, parsed.
//!
//! Pure. Fields are lines `KEY=value`; the first of a key counts and unknown ones are skipped, as in systemd.
//! Absent on purpose: `STATUS`, `STOPPING`, `MAINPID`, `WATCHDOG`, `FDPOLL`. The keeper shows no status, knows its
//! supervisor's pid from having forked it, has no watchdog and never polls what it holds.

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
    },
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
        Self::Notice { ready: fields.has(b"READY=1"), change: fields.change() }
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

    fn name(&self) -> Result<Name, String> {
        let Some(value) = self.lines().find_map(|line| line.strip_prefix(b"FDNAME=")) else {
            return Ok(Name::unnamed());
        };
        let value = String::from_utf8_lossy(value);
        Name::new(&value).ok_or_else(|| value.into_owned())
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
