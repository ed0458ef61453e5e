//! From the body of a request to a change of the state: one entry of a definitions file, with what
//! the path says put in. May import `app`, `control`, `reply`.

use serde_json::{Map, Value, json};

use super::app::App;
use super::reply::Problem;
use crate::control::definitions::Definitions;
use crate::control::{Change, Changed};

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

    /// Makes all of these changes, or none. True: the first made something that was not there.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn make(&self, changes: Vec<Change>) -> Result<bool, Problem> {
        let done = self.control.change(changes).await.map_err(|(_, refused)| refused)?;
        Ok(done.first() == Some(&Changed::Created))
    }
}
