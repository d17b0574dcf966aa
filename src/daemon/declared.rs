//! What becomes of each terminal that the configuration declares. Pure, in the manner of the supervisor's plan.
//!
//! ```text
//!   [[term]] entries, records ──► plan ──► Create | Leave | Changed for each entry, and Undeclared for each record whose entry is gone
//! ```
//!
//! **Invariants.** A terminal that is there, running or ended, is never touched. One that was made from an entry is known by the name in that
//! entry, whatever it was renamed to since; others by the name that they have. Planning again after every `Create` was done creates nothing.

use kaval_actors::{
    Name,
    supervisor::manifest::{Declaration, Record, State},
};

/// What to do about one declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// There is no such terminal: make it.
    Create(Declaration),
    /// There is one; what to know about that, or nothing.
    Leave(String),
    /// There is one, made from another entry; what to do about that.
    Changed(String),
    /// There is no such entry any more; what to do about that.
    Undeclared(String),
}

/// An action for every entry, in their order, and then for every record that lost its entry.
pub(super) fn plan(desired: &[Declaration], records: &[Record]) -> Vec<(Name, Action)> {
    let entries = desired.iter().map(|entry| (entry.name.clone(), about_entry(entry, records)));
    let orphans = records.iter().filter_map(|record| {
        let declared = record.declared.as_ref()?;
        let gone = desired.iter().all(|entry| entry.name != declared.name);
        gone.then(|| (declared.name.clone(), Action::Undeclared(format!("left as it is: {} ends it", way_out(record)))))
    });
    entries.chain(orphans).collect()
}

fn about_entry(entry: &Declaration, records: &[Record]) -> Action {
    let made_from_it = |record: &&Record| record.declared.as_ref().is_some_and(|declared| declared.name == entry.name);
    let Some(record) = records.iter().find(made_from_it) else {
        return match records.iter().find(|record| record.name == entry.name) {
            Some(_) => Action::Leave("made by hand".to_owned()),
            None => Action::Create(entry.clone()),
        };
    };
    if record.declared.as_ref() != Some(entry) {
        return Action::Changed(format!("takes effect after {}", way_out(record)));
    }
    Action::Leave(match record.state {
        State::Lost => format!("lost: {} and another reload make a new one", way_out(record)),
        State::Exited(_) => format!("has ended: {} and another reload make a new one", way_out(record)),
        State::Creating | State::Live | State::Restarting(_) | State::Removing if record.name != entry.name => {
            format!("renamed {}", record.name)
        }
        State::Creating | State::Live | State::Restarting(_) | State::Removing => String::new(),
    })
}

/// What somebody types to be rid of a terminal.
fn way_out(Record { name, state, .. }: &Record) -> String {
    match state {
        State::Creating | State::Live | State::Restarting(_) => format!("kaval kill {name} and kaval rm {name}"),
        State::Exited(_) | State::Lost | State::Removing => format!("kaval rm {name}"),
    }
}

#[cfg(test)]
mod tests {
    use kaval_actors::{
        TermId,
        pty::{Exit, Restart},
    };

    use super::*;

    fn entry(name: &str, command: &str) -> Declaration {
        Declaration {
            name: name.parse().unwrap(),
            argv: vec![command.into()],
            cwd: None,
            env: vec![],
            size: None,
            restart: Restart::Never,
        }
    }

    fn record(name: &str, state: State, declared: Option<Declaration>) -> Record {
        Record { state, declared, ..Record::new(TermId(1), name.parse().unwrap()) }
    }

    fn one(desired: &[Declaration], records: &[Record]) -> Action {
        let [(_, action)] = &plan(desired, records)[..] else { panic!("not one action") };
        action.clone()
    }

    #[test]
    fn a_missing_terminal_is_made_and_then_left() {
        let desired = [entry("a", "sh"), entry("b", "sh")];
        let there = record("a", State::Live, Some(desired[0].clone()));
        let actions = plan(&desired, std::slice::from_ref(&there));
        let name = |name: &str| name.parse::<Name>().unwrap();
        let expected = [(name("a"), Action::Leave(String::new())), (name("b"), Action::Create(desired[1].clone()))];
        assert_eq!(actions, expected);
        let made = record("b", State::Live, Some(desired[1].clone()));
        assert!(plan(&desired, &[there, made]).iter().all(|(_, action)| *action == Action::Leave(String::new())));
    }

    #[test]
    fn one_that_has_ended_or_was_lost_is_left_and_its_way_out_told() {
        for (state, word) in [(State::Exited(Exit::Code(0)), "has ended"), (State::Lost, "lost")] {
            let action = one(&[entry("a", "sh")], &[record("a", state, Some(entry("a", "sh")))]);
            assert_eq!(action, Action::Leave(format!("{word}: kaval rm a and another reload make a new one")));
        }
    }

    #[test]
    fn one_whose_entry_has_changed_is_left_running() {
        let action = one(&[entry("a", "vi")], &[record("a", State::Live, Some(entry("a", "sh")))]);
        assert_eq!(action, Action::Changed("takes effect after kaval kill a and kaval rm a".to_owned()));
        let ended = record("a", State::Exited(Exit::Code(0)), Some(entry("a", "sh")));
        assert_eq!(one(&[entry("a", "vi")], &[ended]), Action::Changed("takes effect after kaval rm a".to_owned()));
    }

    #[test]
    fn one_that_was_renamed_is_known_by_its_entry() {
        let renamed = record("b", State::Live, Some(entry("a", "sh")));
        assert_eq!(one(&[entry("a", "sh")], &[renamed]), Action::Leave("renamed b".to_owned()));
    }

    #[test]
    fn one_that_was_made_by_hand_is_nobody_elses() {
        let by_hand = [record("a", State::Live, None)];
        assert_eq!(one(&[entry("a", "sh")], &by_hand), Action::Leave("made by hand".to_owned()));
        assert_eq!(plan(&[], &by_hand), []);
    }

    #[test]
    fn one_whose_entry_is_gone_is_named() {
        let orphan = record("b", State::Live, Some(entry("a", "sh")));
        let [(name, action)] = &plan(&[], &[orphan])[..] else { panic!("not one action") };
        let told = Action::Undeclared("left as it is: kaval kill b and kaval rm b ends it".to_owned());
        assert_eq!((name.as_str(), action), ("a", &told));
    }
}
