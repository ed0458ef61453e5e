//! Commands about permissions. May import `client`, `commands`, `output`.

use serde_json::json;

use crate::client::part;
use crate::commands::Call;
use crate::failure::Failure;
use crate::output::{done, list as write_list};

fn path(call: &Call<'_>, kind: &str) -> String {
    format!("/api/{kind}/{}/{}", part(&call.options.vhost), part(call.argument(0)))
}

fn about(call: &Call<'_>) -> String {
    format!("for user \"{}\" in vhost \"{}\"", call.argument(0), call.options.vhost)
}

pub(crate) fn set(call: &Call<'_>) -> Result<String, Failure> {
    let (configure, write, read) = (call.argument(1), call.argument(2), call.argument(3));
    let body = json!({ "configure": configure, "write": write, "read": read });
    call.client.put(&path(call, "permissions"), &body)?;
    Ok(done(call.options, &format!("Setting permissions {}", about(call))))
}

pub(crate) fn clear(call: &Call<'_>) -> Result<String, Failure> {
    call.client.delete(&path(call, "permissions"))?;
    Ok(done(call.options, &format!("Clearing permissions {}", about(call))))
}

fn write_rows(
    call: &Call<'_>,
    path: &str,
    title: &str,
    columns: &[(&str, &str)],
) -> Result<String, Failure> {
    let all = call.client.get(path)?;
    let rows = all.as_array().map_or(&[][..], Vec::as_slice);
    Ok(write_list(call.options, title, columns, rows))
}

const PATTERNS: [(&str, &str); 3] =
    [("configure", "configure"), ("write", "write"), ("read", "read")];

pub(crate) fn list(call: &Call<'_>) -> Result<String, Failure> {
    let vhost = &call.options.vhost;
    let path = format!("/api/vhosts/{}/permissions", part(vhost));
    let columns = [&[("user", "user")][..], &PATTERNS].concat();
    write_rows(call, &path, &format!("Listing permissions for vhost \"{vhost}\""), &columns)
}

pub(crate) fn list_of_user(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    let path = format!("/api/users/{}/permissions", part(name));
    let columns = [&[("vhost", "vhost")][..], &PATTERNS].concat();
    write_rows(call, &path, &format!("Listing permissions for user \"{name}\""), &columns)
}

pub(crate) fn set_topic(call: &Call<'_>) -> Result<String, Failure> {
    let (exchange, write, read) = (call.argument(1), call.argument(2), call.argument(3));
    let body = json!({ "exchange": exchange, "write": write, "read": read });
    call.client.put(&path(call, "topic-permissions"), &body)?;
    Ok(done(call.options, &format!("Setting topic permissions on \"{exchange}\" {}", about(call))))
}

pub(crate) fn clear_topic(call: &Call<'_>) -> Result<String, Failure> {
    call.client.delete(&path(call, "topic-permissions"))?;
    Ok(done(call.options, &format!("Clearing topic permissions {}", about(call))))
}

const TOPICS: [(&str, &str); 3] = [("exchange", "exchange"), ("write", "write"), ("read", "read")];

pub(crate) fn list_topic(call: &Call<'_>) -> Result<String, Failure> {
    let vhost = &call.options.vhost;
    let path = format!("/api/vhosts/{}/topic-permissions", part(vhost));
    let columns = [&[("user", "user")][..], &TOPICS].concat();
    write_rows(call, &path, &format!("Listing topic permissions for vhost \"{vhost}\""), &columns)
}

pub(crate) fn list_topic_of_user(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    let path = format!("/api/users/{}/topic-permissions", part(name));
    let columns = [&[("vhost", "vhost")][..], &TOPICS].concat();
    write_rows(call, &path, &format!("Listing topic permissions for user \"{name}\""), &columns)
}
