//! From the body of a request to a change of the state: one entry of a definitions file, with what
//! the path says put in. May import `app`, `control`, `reply`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::app::App;
use super::reply::Problem;
use crate::control::definitions::Definitions;
use crate::control::{Change, Changed, Password};

impl App {
    /// Reads one entry of a list of a definitions file. What stands in the path counts more than
    /// what the body says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read_entry(
        &self,
        list: &str,
        mut entry: Map<String, Value>,
        path: &[(&str, &str)],
    ) -> Result<Vec<Change>, Problem> {
        for (name, value) in path {
            entry.insert((*name).into(), (*value).into());
        }
        let read = Definitions::read(&json!({ list: [entry] }));
        let prefix = format!("{list}[0]: ");
        let bad = |why: String| Problem::Bad(why.strip_prefix(&prefix).unwrap_or(&why).to_owned());
        read.map(|read| read.changes().to_vec()).map_err(bad)
    }

    /// What is kept of a password: RabbitMQ's salted SHA-256.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(super) async fn hash(&self, password: &str) -> Result<Password, Problem> {
        let mut salt = [0; 4];
        let none = |_| Problem::Broken("no random numbers".into());
        getrandom::fill(&mut salt).map_err(none)?;
        let sum = Sha256::new().chain_update(salt).chain_update(password).finalize();
        let text = STANDARD.encode([salt.as_slice(), sum.as_slice()].concat());
        Password::parse(&text, None).map_err(Problem::Broken)
    }

    /// Makes all of these changes, or none. True: the first made something that was not there.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn make(&self, changes: Vec<Change>) -> Result<bool, Problem> {
        let done = self.control.change(changes).await.map_err(|(_, refused)| refused)?;
        Ok(done.first() == Some(&Changed::Created))
    }
}
