//! Commands about users. May import `client`, `commands`, `output`.

use serde_json::{Value, json};

use crate::client::part;
use crate::commands::Call;
use crate::failure::Failure;
use crate::output::{done, list as write_list};

fn path(name: &str) -> String {
    format!("/api/users/{}", part(name))
}

fn missing(name: &str) -> impl Fn(Failure) -> Failure {
    let name = name.to_owned();
    move |failure| match failure {
        Failure::Missing(_) => Failure::Missing(format!("User \"{name}\" does not exist")),
        other @ (Failure::Usage(_)
        | Failure::Data(_)
        | Failure::Unavailable(_)
        | Failure::NotAllowed(_)
        | Failure::Other(_)) => other,
    }
}

pub(crate) fn list(call: &Call<'_>) -> Result<String, Failure> {
    let users = call.client.get("/api/users?columns=name,tags")?;
    let rows = users.as_array().map_or(&[][..], Vec::as_slice);
    Ok(write_list(call.options, "Listing users", &[("user", "name"), ("tags", "tags")], rows))
}

pub(crate) fn add(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    if call.client.exchange("GET", &path(name), None, &[])?.status == 200 {
        return Err(Failure::Other(format!("User \"{name}\" already exists")));
    }
    let tags = call.options.further("--tags").unwrap_or_default();
    call.client.put(&path(name), &json!({ "password": call.argument(1), "tags": tags }))?;
    Ok(done(call.options, &format!("Adding user \"{name}\"")))
}

pub(crate) fn delete(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    call.client.delete(&path(name)).map_err(missing(name))?;
    Ok(done(call.options, &format!("Deleting user \"{name}\"")))
}

pub(crate) fn change_password(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    let user = call.client.get(&path(name)).map_err(missing(name))?;
    let tags = user.get("tags").cloned().unwrap_or_else(|| json!([]));
    call.client.put(&path(name), &json!({ "password": call.argument(1), "tags": tags }))?;
    Ok(done(call.options, &format!("Changing password for user \"{name}\"")))
}

pub(crate) fn set_tags(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    let mut user = call.client.get(&path(name)).map_err(missing(name))?;
    let tags = call.arguments.get(1..).unwrap_or_default();
    // The hash goes back as it came: other brokers drop a password that is not named.
    if let Value::Object(user) = &mut user {
        user.insert("tags".into(), tags.join(",").into());
        user.remove("limits");
    }
    call.client.put(&path(name), &user)?;
    Ok(done(call.options, &format!("Setting tags for user \"{name}\" to [{}]", tags.join(", "))))
}

pub(crate) fn authenticate(call: &Call<'_>) -> Result<String, Failure> {
    use crate::client::Client;
    use crate::options::Place;
    let Place::Address { host, port, .. } = &call.options.place else {
        return Err(Failure::Usage("authenticate_user needs --hostname or --uri".into()));
    };
    let place = Place::Address {
        host: host.clone(),
        port: *port,
        user: call.argument(0).into(),
        password: call.argument(1).into(),
    };
    let answer = Client::new(place).exchange("GET", "/api/whoami", None, &[])?;
    let is_known = answer.body.get("error").and_then(Value::as_str) != Some("not_authorized");
    if answer.status == 200 || is_known {
        return Ok(done(call.options, "Success"));
    }
    Err(Failure::NotAllowed("failed to authenticate user".into()))
}

pub(crate) fn hash_password(call: &Call<'_>) -> Result<String, Failure> {
    let body = json!({ "password": call.argument(0) });
    let answer = call.client.ask("PUT", "/api/auth/hash_password", Some(&body), &[])?;
    let hash = answer.get("password_hash").and_then(Value::as_str).unwrap_or_default();
    Ok(format!("{hash}\n"))
}

/// The limits in an argument, one by one.
pub(crate) fn limits_of(text: &str) -> Result<Vec<(String, Value)>, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Object(limits)) => Ok(limits.into_iter().collect()),
        Ok(_) | Err(_) => {
            Err(Failure::Data(format!("'{text}' is not like {{\"max-connections\": 100}}")))
        }
    }
}

pub(crate) fn set_limits(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    for (limit, value) in limits_of(call.argument(1))? {
        let path = format!("/api/user-limits/{}/{}", part(name), part(&limit));
        call.client.put(&path, &json!({ "value": value })).map_err(missing(name))?;
    }
    Ok(done(call.options, &format!("Setting user limits for user \"{name}\"")))
}

pub(crate) fn clear_limits(call: &Call<'_>) -> Result<String, Failure> {
    let (name, which) = (call.argument(0), call.argument(1));
    let all = ["max-connections", "max-channels"];
    let chosen = if which == "all" { all.to_vec() } else { vec![which] };
    for limit in chosen {
        let path = format!("/api/user-limits/{}/{}", part(name), part(limit));
        call.client.delete(&path).map_err(missing(name))?;
    }
    Ok(done(call.options, &format!("Clearing \"{which}\" limit for user \"{name}\"")))
}

pub(crate) fn list_limits(call: &Call<'_>) -> Result<String, Failure> {
    let path = match call.arguments.first() {
        Some(name) => format!("/api/user-limits/{}", part(name)),
        None => "/api/user-limits".into(),
    };
    let limits = call.client.get(&path)?;
    let rows = limits.as_array().map_or(&[][..], Vec::as_slice);
    let columns = [("user", "user"), ("limits", "value")];
    Ok(write_list(call.options, "Listing limits of users", &columns, rows))
}
