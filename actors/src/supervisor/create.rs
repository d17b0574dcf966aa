//! Making a terminal: a record that says so, once, however often it is asked for, and those who asked are told when it lives.

use actix::{ActorFutureExt, AsyncContext, Handler, ResponseFuture, WrapFuture};
use tokio::sync::oneshot;

use super::{
    Create, CreateError, Created,
    actor::Supervisor,
    manifest::{Record, State},
};
use crate::{Name, TermId, pty::spawn};

/// Bytes of arguments and environment that a terminal may add; the kernel's limit for a whole exec is usually 2 MiB.
const COMMAND_BYTES_MAX: usize = 128 * 1024;

impl Supervisor {
    fn new_record(&mut self, create: &Create) -> Result<Record, CreateError> {
        if self.records.len() >= self.limits.terms_max {
            return Err(CreateError::TooMany { max: self.limits.terms_max });
        }
        let argv = if create.argv.is_empty() { vec![default_shell()] } else { create.argv.clone() };
        check_command(&argv, &create.env)?;
        let id = self.next_id;
        let name = match &create.name {
            Some(name) if self.by_name(name.as_str()).is_some() => return Err(CreateError::NameTaken(name.clone())),
            Some(name) => name.clone(),
            None => self.generated_name(&argv[0], id),
        };
        self.next_id = TermId(id.0 + 1);
        Ok(Record {
            argv,
            cwd: create.cwd.clone().unwrap_or_else(spawn::default_cwd),
            env: create.env.clone(),
            size: create.size,
            restart: create.restart,
            token: create.token,
            logged: create.logged,
            declared: create.declared.clone(),
            ..Record::new(id, name)
        })
    }

    /// The program's name and the id: `bash-7`.
    fn generated_name(&self, program: &str, id: TermId) -> Name {
        let base: String = program
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
            .take(40)
            .collect();
        let base = base.trim_start_matches('-');
        let base = if base.is_empty() { "term" } else { base };
        let names = (0..).map(|n| if n == 0 { format!("{base}-{id}") } else { format!("{base}-{id}-{n}") });
        let free = names.filter(|name| self.by_name(name).is_none()).find_map(|name| name.parse().ok());
        free.expect("only finitely many names are taken")
    }

    /// The terminal that an earlier asking with the same token, or the same name where that is allowed, made.
    fn already_created(&self, create: &Create) -> Option<TermId> {
        let same_token =
            |record: &&Record| create.token != 0 && record.token == create.token && record.state != State::Removing;
        let by_token = self.records.values().find(same_token).map(|record| record.id);
        by_token.or_else(|| create.name.as_ref().filter(|_| create.if_absent).and_then(|name| self.by_name(name.as_str())))
    }
}

impl Handler<Create> for Supervisor {
    type Result = ResponseFuture<Result<Created, CreateError>>;

    fn handle(&mut self, create: Create, ctx: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        if let Some(id) = self.already_created(&create) {
            self.entries.entry(id).or_default().creators.push(reply);
            self.reconcile(id, ctx);
        } else {
            let record = match self.new_record(&create) {
                Ok(record) => record,
                Err(error) => return Box::pin(async { Err(error) }),
            };
            let id = record.id;
            if record.logged {
                self.log.admit(id);
            }
            self.records.insert(id, record);
            self.entries.entry(id).or_default().creators.push(reply);
            let intent = self.changed(id, ctx);
            ctx.spawn(intent.into_actor(self).map(move |result, supervisor, ctx| {
                if let Ok(Err(error)) = result {
                    supervisor.abandon(id, &format!("the terminal cannot be recorded: {error}"), ctx);
                }
            }));
        }
        Box::pin(async { answer.await.unwrap_or_else(|_| Err(CreateError::Failed("the supervisor is ending".to_owned()))) })
    }
}

fn check_command(argv: &[String], env: &[(String, String)]) -> Result<(), CreateError> {
    let texts = || argv.iter().chain(env.iter().flat_map(|(key, value)| [key, value]));
    if texts().any(|text| text.contains('\0')) {
        return Err(CreateError::BadCommand("arguments and environment may not contain a NUL byte".to_owned()));
    }
    if env.iter().any(|(key, _)| key.is_empty() || key.contains('=')) {
        return Err(CreateError::BadCommand("an environment variable needs a name without =".to_owned()));
    }
    let bytes: usize = texts().map(|text| text.len() + 1).sum();
    if bytes > COMMAND_BYTES_MAX {
        return Err(CreateError::BadCommand(format!(
            "arguments and environment are {bytes} bytes; at most {COMMAND_BYTES_MAX} are allowed"
        )));
    }
    Ok(())
}

fn default_shell() -> String {
    std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".to_owned())
}
