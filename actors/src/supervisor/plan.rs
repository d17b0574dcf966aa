//! What to do so that what runs is what should run. Pure, and total over every combination of record, descriptors and process.
//!
//! ```text
//!              plan                          effects
//! (desired, observed) ──► [Step] ──each──► [Effect] ──► execute, one after the other
//! ```
//!
//! | record | PTY held | process | actor | step |
//! |---|---|---|---|---|
//! | none | any descriptor | | | `Discard` |
//! | creating | yes | held or running | no | `Launch` |
//! | creating | otherwise | | no | `Spawn` |
//! | live | yes | held | no | `Launch` |
//! | live | yes | running, ended, unknown | no | `Adopt` |
//! | live | no | | no | `Lose`; `Recall` if that starts it again |
//! | live | | drained | yes | `Bury`; `Rest` if that starts it again |
//! | live, to end | yes | running | yes, not told | `Hangup` |
//! | restarting | yes | held or running | | `Launch` |
//! | restarting, to end | otherwise | | | `Bury` |
//! | restarting, due | otherwise | | | `Respawn` |
//! | restarting | some | | | `Discard` |
//! | restarting | no | | no | `Recall` |
//! | exited, lost | some | | | `Discard` |
//! | exited, lost | | | no | `Recall` |
//! | removing | | | | `Forget` |
//!
//! **Invariants.** Applying a plan and planning again gives nothing, until something new is observed. A cut between any two effects
//! leaves a state from which the next plan reaches the same end. The command of a creation runs exactly once, and so for each time that it is
//! started again: it is released only after `live` is on disk, and `creating` and `restarting` mean that it never was.

use std::collections::BTreeMap;

use super::manifest::{Record, State};
use crate::{TermId, pty::Fate};

/// What is seen of one terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Its PTY's master is held.
    pub master: bool,
    /// Its child's pidfd is held.
    pub pidfd: bool,
    /// Its child.
    pub process: Process,
    /// Its actor, if it runs.
    pub actor: Option<ActorSeen>,
    /// If it waits to be started again, that is long enough.
    pub due: bool,
}

/// A terminal's child, as seen through its pidfd or its PTY's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// There is none to be seen.
    None,
    /// The launcher waits to be released.
    Held,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// What is known of a terminal's actor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActorSeen {
    /// It has said how the child came to its end, and that its output is drained.
    pub drained: Option<Fate>,
    /// The child has been told to hang up.
    pub hung_up: bool,
}

impl Observed {
    /// Nothing at all.
    pub const NOTHING: Self = Self { master: false, pidfd: false, process: Process::None, actor: None, due: false };

    fn holds_any(&self) -> bool {
        self.master || self.pidfd
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make the PTY and the child.
    Spawn,
    /// The held child is there: record it as live and let it go.
    Launch,
    /// Take over the PTY and the child of a supervisor before this one, or of an actor that died.
    Adopt,
    /// Record the child's end.
    Bury(Fate),
    /// Record the child's end, and that another is to follow.
    Rest(Fate),
    /// Make another PTY and child.
    Respawn,
    /// Record that the PTY is gone.
    Lose,
    /// Start an actor for what is left of a terminal without a PTY: its history, and where that ends.
    Recall,
    /// Hang the terminal up.
    Hangup,
    /// Drop descriptors that nothing needs.
    Discard,
    /// Drop the terminal and its record.
    Forget,
}

/// What a step consists of, in the order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Write the record with this state; on disk when done.
    Record(State),
    /// Delete the record; gone from disk when done.
    Delete,
    /// Drop what the custodian and this process hold.
    Release,
    /// Open a PTY and have the custodian hold its master; held when done.
    OpenPty,
    /// Start the held child on it.
    SpawnHeld,
    /// Have the custodian hold the child's pidfd; held when done.
    StorePidfd,
    /// Wait until the child of a creation that was cut short is held: it may have been on its way there.
    AwaitHeld,
    /// Let the held child run its command.
    Continue,
    /// Send SIGHUP to its session.
    SendHangup,
    /// Start the actor; give one that runs the child and the PTY.
    StartActor,
    /// Tell the actor that the end is on record.
    TellActor(Fate),
    /// Tell the actor that another child will follow.
    RestActor,
    /// Stop the actor, if it runs.
    StopActor,
}

/// The steps for every terminal that is recorded or seen.
pub fn plan(desired: &BTreeMap<TermId, Record>, observed: &BTreeMap<TermId, Observed>) -> Vec<(TermId, Step)> {
    let ids = desired.keys().chain(observed.keys().filter(|id| !desired.contains_key(id)));
    let step = |id: &TermId| Some((*id, plan_one(desired.get(id), observed.get(id).unwrap_or(&Observed::NOTHING))?));
    ids.filter_map(step).collect()
}

/// The step for one terminal, if it needs one.
pub fn plan_one(record: Option<&Record>, seen: &Observed) -> Option<Step> {
    let Some(record) = record else { return seen.holds_any().then_some(Step::Discard) };
    match record.state {
        State::Removing => Some(Step::Forget),
        State::Creating => match (seen.master, seen.process) {
            (true, Process::Held | Process::Running) => Some(Step::Launch),
            (true, Process::None | Process::Ended) | (false, _) => Some(Step::Spawn),
        },
        State::Live => match seen.actor {
            Some(ActorSeen { drained: Some(fate), .. }) if record.restarts_after(fate) => Some(Step::Rest(fate)),
            Some(ActorSeen { drained: Some(fate), .. }) => Some(Step::Bury(fate)),
            Some(ActorSeen { drained: None, hung_up }) => (record.ending && !hung_up).then_some(Step::Hangup),
            None if !seen.master && record.restarts_after(Fate::Lost) => Some(Step::Recall),
            None if !seen.master => Some(Step::Lose),
            None if seen.process == Process::Held => Some(Step::Launch),
            None => Some(Step::Adopt),
        },
        State::Restarting(_) if seen.master && matches!(seen.process, Process::Held | Process::Running) => Some(Step::Launch),
        State::Restarting(fate) if record.ending => Some(Step::Bury(fate)),
        State::Restarting(_) if seen.due => Some(Step::Respawn),
        State::Restarting(_) if seen.holds_any() => Some(Step::Discard),
        State::Restarting(_) => seen.actor.is_none().then_some(Step::Recall),
        State::Exited(_) | State::Lost if seen.holds_any() => Some(Step::Discard),
        State::Exited(_) | State::Lost => seen.actor.is_none().then_some(Step::Recall),
    }
}

/// What `step` consists of. Everything before `Continue` can be done again or undone; nothing after it matters to the command.
pub fn effects(step: Step) -> Vec<Effect> {
    use Effect::{
        AwaitHeld, Continue, Delete, OpenPty, Record, Release, RestActor, SendHangup, SpawnHeld, StartActor, StopActor,
        StorePidfd, TellActor,
    };
    match step {
        Step::Spawn | Step::Respawn => vec![Release, OpenPty, SpawnHeld, StorePidfd, Record(State::Live), Continue, StartActor],
        Step::Launch => vec![AwaitHeld, StorePidfd, Record(State::Live), Continue, StartActor],
        Step::Adopt => vec![StorePidfd, StartActor],
        Step::Bury(fate) => vec![Record(State::from(fate)), Release, TellActor(fate)],
        Step::Rest(fate) => vec![Record(State::Restarting(fate)), Release, RestActor],
        Step::Lose => vec![Record(State::Lost), Release, StartActor],
        Step::Recall => vec![StartActor],
        Step::Hangup => vec![SendHangup],
        Step::Discard => vec![Release],
        Step::Forget => vec![StopActor, Release, Delete],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pty::{Exit, Restart};

    /// A terminal and its surroundings, as effects change them.
    #[derive(Debug, Clone, PartialEq)]
    struct World {
        record: Option<Wanted>,
        seen: Observed,
        /// How often the command was let run.
        runs: u32,
        /// Where the output ends, and where that was recorded to be.
        end: u64,
        recorded_end: u64,
        /// Where the seam belongs, and how many were written.
        seam_at: Option<u64>,
        seams: u32,
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Wanted {
        state: State,
        ending: bool,
        restart: Restart,
    }

    fn record(Wanted { state, ending, restart }: Wanted) -> Record {
        Record { state, ending, restart, ..Record::new(TermId(1), "t".parse().unwrap()) }
    }

    fn wanted(state: State) -> Wanted {
        Wanted { state, ending: false, restart: Restart::Never }
    }

    impl World {
        fn step(&self) -> Option<Step> {
            plan_one(self.record.map(record).as_ref(), &self.seen)
        }

        fn apply(&mut self, effect: Effect) {
            let seen = &mut self.seen;
            match effect {
                Effect::Record(state) => {
                    let before = self.record.unwrap_or(wanted(state));
                    match (before.state, state) {
                        (State::Live, State::Restarting(_)) => self.recorded_end = self.end,
                        (State::Restarting(_), State::Live) => self.seam_at = Some(self.recorded_end),
                        _ => {}
                    }
                    self.record = Some(Wanted { state, ..before });
                }
                Effect::Delete => self.record = None,
                // A PTY that nobody holds is hung up, which ends what is on it.
                Effect::Release => (seen.master, seen.pidfd, seen.process) = (false, false, Process::None),
                Effect::OpenPty => (seen.master, seen.process) = (true, Process::None),
                Effect::SpawnHeld => seen.process = Process::Held,
                Effect::StorePidfd => seen.pidfd = seen.process != Process::None,
                Effect::Continue => {
                    self.runs += u32::from(seen.process == Process::Held);
                    seen.process = Process::Running;
                }
                Effect::SendHangup => {
                    seen.process = Process::Ended;
                    seen.actor = seen.actor.map(|actor| ActorSeen { hung_up: true, ..actor });
                }
                Effect::StartActor => {
                    seen.actor = Some(ActorSeen::default());
                    // Before it takes the child's output, it writes the seam unless that is there.
                    if seen.master && self.seam_at.is_some_and(|at| self.end <= at) {
                        (self.end, self.seams) = (self.end + 1, self.seams + 1);
                    }
                }
                Effect::TellActor(_) | Effect::RestActor => {}
                Effect::AwaitHeld => {
                    let is_held_yet =
                        self.record.is_some_and(|wanted| matches!(wanted.state, State::Creating | State::Restarting(_)));
                    if is_held_yet && seen.process == Process::Running {
                        seen.process = Process::Held;
                    }
                }
                Effect::StopActor => seen.actor = None,
            }
        }

        /// What happens by itself: the actor of a live terminal whose child has ended, or whose PTY is gone, drains it and says so.
        fn drain(&mut self) {
            let fate = match self.seen.process {
                _ if !self.seen.master => Fate::Lost,
                Process::Ended | Process::None => Fate::Ended(Exit::Code(1)),
                Process::Held | Process::Running => return,
            };
            if let (Some(Wanted { state: State::Live, .. }), Some(actor)) = (self.record, &mut self.seen.actor) {
                actor.drained = Some(fate);
            }
        }

        /// What lasts: all of it but what an actor remembers.
        fn lasting(&self) -> Self {
            let actor = self.seen.actor.map(|_| ActorSeen::default());
            Self { seen: Observed { actor, ..self.seen }, ..self.clone() }
        }

        fn crash(&mut self) {
            self.seen.actor = None;
        }

        /// Plans and applies until nothing is left to do.
        fn settled(mut self) -> Self {
            for _ in 0..8 {
                let Some(step) = self.step() else { return self };
                effects(step).into_iter().for_each(|effect| self.apply(effect));
                self.drain();
            }
            panic!("no end to it: {self:?}");
        }

        /// As [`World::settled`], with a crash after the first `cut` effects.
        fn settled_with_a_crash(mut self, cut: usize) -> Self {
            let mut left = cut;
            while let Some(step) = self.step() {
                for effect in effects(step) {
                    if left == 0 {
                        self.crash();
                        return self.settled();
                    }
                    left -= 1;
                    self.apply(effect);
                }
                self.drain();
            }
            self.crash();
            self.settled()
        }
    }

    /// A process can be seen only through a descriptor.
    fn worlds_without_actor() -> impl Iterator<Item = World> {
        let possible = |world: &World| world.seen.process == Process::None || world.seen.holds_any();
        every_world().filter(move |world| world.seen.actor.is_none() && possible(world))
    }

    fn every_world() -> impl Iterator<Item = World> {
        let failed = Fate::Ended(Exit::Code(1));
        let states = [
            State::Creating,
            State::Live,
            State::Restarting(failed),
            State::Restarting(Fate::Lost),
            State::Exited(Exit::Code(1)),
            State::Lost,
            State::Removing,
        ];
        let variants =
            [false, true].into_iter().flat_map(|ending| [Restart::Never, Restart::OnFailure].map(|restart| (ending, restart)));
        let records = states
            .into_iter()
            .flat_map(move |state| variants.clone().map(move |(ending, restart)| Some(Wanted { state, ending, restart })));
        let processes = [Process::None, Process::Held, Process::Running, Process::Ended];
        let drained = ActorSeen { drained: Some(Fate::Ended(Exit::Unknown)), hung_up: true };
        let actors = [None, Some(ActorSeen::default()), Some(drained)];
        records.chain([None]).flat_map(move |record| {
            (0..8u8).flat_map(move |bits| {
                processes.into_iter().flat_map(move |process| {
                    actors.into_iter().map(move |actor| World {
                        record,
                        seen: Observed { master: bits & 1 != 0, pidfd: bits & 2 != 0, process, actor, due: bits & 4 != 0 },
                        runs: 0,
                        end: 5,
                        recorded_end: 5,
                        seam_at: None,
                        seams: 0,
                    })
                })
            })
        })
    }

    #[test]
    fn every_combination_settles_and_planning_again_gives_nothing() {
        for world in every_world() {
            let settled = world.clone().settled();
            assert_eq!(settled.step(), None, "{world:?}");
            let wanted = match world.record.map(|wanted| (wanted.state, wanted.ending)) {
                None | Some((State::Removing, _)) => None,
                Some((State::Creating, false)) => Some(State::Live),
                Some((State::Restarting(_), false)) if world.seen.due => Some(State::Live),
                Some((State::Exited(_) | State::Lost, _)) => world.record.map(|wanted| wanted.state),
                Some((State::Creating | State::Live | State::Restarting(_), _)) => continue,
            };
            assert_eq!(settled.record.map(|wanted| wanted.state), wanted, "{world:?}");
        }
    }

    #[test]
    fn one_that_is_to_be_started_again_runs_once_behind_one_seam_and_waits_until_it_is_due() {
        for world in worlds_without_actor().filter(|world| world.record.is_some_and(|wanted| !wanted.ending)) {
            let Some(Wanted { state, restart, .. }) = world.record else { continue };
            let Observed { master, process, due, .. } = world.seen;
            let is_there = master && matches!(process, Process::Held | Process::Running);
            let settled = world.clone().settled();
            let now = settled.record.map(|wanted| wanted.state);
            match state {
                State::Restarting(_) if due || is_there => {
                    assert_eq!((now, settled.runs, settled.seams), (Some(State::Live), 1, 1), "{world:?}")
                }
                State::Restarting(_) => assert_eq!((now, settled.runs, settled.seams), (Some(state), 0, 0), "{world:?}"),
                State::Live if restart == Restart::Never && !is_there => {
                    assert!(matches!(now, Some(State::Exited(_) | State::Lost)), "{world:?}");
                }
                State::Live if !is_there && due => {
                    assert_eq!((now, settled.runs, settled.seams), (Some(State::Live), 1, 1), "{world:?}");
                }
                State::Live if !is_there => assert!(matches!(now, Some(State::Restarting(_))), "{world:?}"),
                State::Creating | State::Live | State::Exited(_) | State::Lost | State::Removing => {}
            }
        }
    }

    /// Whatever waits, and whatever is cut short: an end that was asked for is the end.
    #[test]
    fn one_that_was_asked_to_end_is_not_started_again() {
        for world in worlds_without_actor() {
            let Some(Wanted { state: State::Live | State::Restarting(_), ending: true, .. }) = world.record else { continue };
            let settled = world.clone().settled();
            let now = settled.record.map(|wanted| wanted.state);
            assert!(matches!(now, Some(State::Exited(_) | State::Lost)), "{world:?}");
        }
    }

    #[test]
    fn a_creation_runs_its_command_exactly_once_and_ends_live() {
        for world in worlds_without_actor()
            .filter(|world| world.record.is_some_and(|wanted| wanted.state == State::Creating && !wanted.ending))
        {
            let settled = world.settled();
            assert_eq!(settled.runs, 1);
            assert_eq!((settled.seen.process, settled.seen.master, settled.seen.pidfd), (Process::Running, true, true));
        }
    }

    #[test]
    fn a_crash_between_any_two_effects_leads_to_the_same_end() {
        for world in worlds_without_actor() {
            let expected = world.clone().settled();
            for cut in 0..16 {
                assert_eq!(world.clone().settled_with_a_crash(cut).lasting(), expected.lasting(), "{world:?} cut after {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_number_of_crashes_leads_to_the_same_end(index in any::<prop::sample::Index>(), cuts in prop::collection::vec(0usize..8, 0..6)) {
            let worlds: Vec<World> = worlds_without_actor().collect();
            let start = index.get(&worlds).clone();
            let expected = start.clone().settled();
            let mut world = start;
            for cut in cuts {
                let mut left = cut;
                'life: while let Some(step) = world.step() {
                    for effect in effects(step) {
                        if left == 0 {
                            break 'life;
                        }
                        left -= 1;
                        world.apply(effect);
                    }
                    world.drain();
                }
                world.crash();
            }
            prop_assert_eq!(world.settled().lasting(), expected.lasting());
        }
    }

    #[test]
    fn a_plan_names_every_terminal_that_is_recorded_or_seen_once() {
        let desired = BTreeMap::from([(TermId(1), record(wanted(State::Live))), (TermId(2), record(wanted(State::Lost)))]);
        let orphan = Observed { master: true, ..Observed::NOTHING };
        let observed = BTreeMap::from([(TermId(1), orphan), (TermId(9), orphan)]);
        let steps = plan(&desired, &observed);
        assert_eq!(steps, [(TermId(1), Step::Adopt), (TermId(2), Step::Recall), (TermId(9), Step::Discard)]);
    }
}
