//! Commands about connections and channels. May import `client`, `commands`, `output`, `vhosts`.

use serde_json::Value;

use crate::client::part;
use crate::commands::Call;
use crate::failure::Failure;
use crate::output::{done, list as write_list};
use crate::vhosts::columns;

const REASON: &str = "CONNECTION_FORCED - Closed via ringmqctl";

pub(crate) fn list(call: &Call<'_>) -> Result<String, Failure> {
    let all = call.client.get("/api/connections")?;
    let rows = all.as_array().map_or(&[][..], Vec::as_slice);
    let columns = columns(call, &["user", "peer_host", "peer_port", "state", "name"]);
    Ok(write_list(call.options, "Listing connections", &columns, rows))
}

pub(crate) fn list_channels(call: &Call<'_>) -> Result<String, Failure> {
    let all = call.client.get("/api/channels")?;
    let rows = all.as_array().map_or(&[][..], Vec::as_slice);
    let usual = ["name", "user", "consumer_count", "messages_unacknowledged"];
    Ok(write_list(call.options, "Listing channels", &columns(call, &usual), rows))
}

fn close_one(call: &Call<'_>, name: &str, reason: &str) -> Result<(), Failure> {
    let path = format!("/api/connections/{}", part(name));
    call.client.ask("DELETE", &path, None, &[("X-Reason", reason)]).map(drop)
}

fn reason<'a>(call: &'a Call<'_>, place: usize) -> &'a str {
    call.arguments.get(place).map_or(REASON, String::as_str)
}

pub(crate) fn close(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    close_one(call, name, reason(call, 1))?;
    Ok(done(call.options, &format!("Closing connection \"{name}\"")))
}

pub(crate) fn close_all(call: &Call<'_>) -> Result<String, Failure> {
    let path = format!("/api/vhosts/{}/connections?columns=user", part(&call.options.vhost));
    let all = call.client.get(&path)?;
    let named = |row: &Value| row.get("user").and_then(Value::as_str).map(ToOwned::to_owned);
    let rows = all.as_array().map_or(&[][..], Vec::as_slice);
    let mut users: Vec<String> = rows.iter().filter_map(named).collect();
    users.sort_unstable();
    users.dedup();
    // By user and virtual host: one request for many connections.
    for user in &users {
        let vhost = part(&call.options.vhost);
        let path = format!("/api/connections/username/{}?vhost={vhost}", part(user));
        call.client.ask("DELETE", &path, None, &[("X-Reason", reason(call, 0))])?;
    }
    let vhost = &call.options.vhost;
    Ok(done(call.options, &format!("Closing all connections in vhost \"{vhost}\"")))
}

pub(crate) fn close_all_of_user(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    let path = format!("/api/connections/username/{}", part(name));
    call.client.ask("DELETE", &path, None, &[("X-Reason", reason(call, 1))])?;
    Ok(done(call.options, &format!("Closing connections for user \"{name}\"")))
}
