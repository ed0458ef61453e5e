//! Commands about virtual hosts. May import `client`, `commands`, `output`, `users`.

use serde_json::json;

use crate::client::part;
use crate::commands::Call;
use crate::failure::Failure;
use crate::output::{done, list as write_list};
use crate::users::limits_of;

pub(crate) fn add(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    let mut body = json!({});
    if let Some(body) = body.as_object_mut() {
        for (field, option) in [("description", "--description"), ("tags", "--tags")] {
            if let Some(value) = call.options.further(option) {
                body.insert(field.into(), value.into());
            }
        }
    }
    call.client.put(&format!("/api/vhosts/{}", part(name)), &body)?;
    Ok(done(call.options, &format!("Adding vhost \"{name}\"")))
}

pub(crate) fn delete(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    let deleted = call.client.delete(&format!("/api/vhosts/{}", part(name)));
    deleted.map_err(|failure| {
        if matches!(failure, Failure::Missing(_)) {
            return Failure::Missing(format!("Virtual host \"{name}\" does not exist"));
        }
        failure
    })?;
    Ok(done(call.options, &format!("Deleting vhost \"{name}\"")))
}

/// The columns that were asked for, or else the usual ones.
pub(crate) fn columns<'a>(call: &Call<'a>, usual: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    // rabbitmqctl takes several in one argument as well.
    let asked = call.arguments.iter().flat_map(|word| word.split([' ', ',']));
    let asked: Vec<&str> = asked.filter(|name| !name.is_empty()).collect();
    let chosen = if asked.is_empty() { usual.to_vec() } else { asked };
    chosen.into_iter().map(|name| (name, name)).collect()
}

pub(crate) fn list(call: &Call<'_>) -> Result<String, Failure> {
    let all = call.client.get("/api/vhosts")?;
    let rows = all.as_array().map_or(&[][..], Vec::as_slice);
    Ok(write_list(call.options, "Listing vhosts", &columns(call, &["name"]), rows))
}

pub(crate) fn set_limits(call: &Call<'_>) -> Result<String, Failure> {
    let vhost = &call.options.vhost;
    for (limit, value) in limits_of(call.argument(0))? {
        let path = format!("/api/vhost-limits/{}/{}", part(vhost), part(&limit));
        call.client.put(&path, &json!({ "value": value }))?;
    }
    Ok(done(call.options, &format!("Setting vhost limits for vhost \"{vhost}\"")))
}

pub(crate) fn clear_limits(call: &Call<'_>) -> Result<String, Failure> {
    let vhost = &call.options.vhost;
    for limit in ["max-connections", "max-queues"] {
        call.client.delete(&format!("/api/vhost-limits/{}/{limit}", part(vhost)))?;
    }
    Ok(done(call.options, &format!("Clearing vhost limits for vhost \"{vhost}\"")))
}

pub(crate) fn list_limits(call: &Call<'_>) -> Result<String, Failure> {
    let path = format!("/api/vhost-limits/{}", part(&call.options.vhost));
    let all = call.client.get(&path)?;
    let rows = all.as_array().map_or(&[][..], Vec::as_slice);
    let columns = [("vhost", "vhost"), ("limits", "value")];
    Ok(write_list(call.options, "Listing limits of vhosts", &columns, rows))
}
