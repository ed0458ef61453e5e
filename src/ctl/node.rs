//! Commands about the broker as a whole. May import `client`, `commands`, `output`.

use serde_json::{Value, json};

use crate::client::part;
use crate::commands::Call;
use crate::failure::Failure;
use crate::output::{done, list as write_list, one};

pub(crate) fn status(call: &Call<'_>) -> Result<String, Failure> {
    let about = call.client.get("/api/overview")?;
    let nodes = call.client.get("/api/nodes")?;
    let node = nodes.get(0).cloned().unwrap_or_default();
    let of = |value: &Value, path: &str| value.pointer(path).cloned().unwrap_or_default();
    let fields = [
        ("Version", of(&about, "/product_version")),
        ("Node", of(&about, "/node")),
        ("PID", of(&node, "/os_pid")),
        ("Uptime (ms)", of(&node, "/uptime")),
        ("Data directory", of(&node, "/db_dir")),
        ("Memory (bytes)", of(&node, "/mem_used")),
        ("Memory of messages (bytes)", of(&node, "/message_memory_used")),
        ("Memory limit (bytes)", of(&node, "/mem_limit")),
        ("Free disk space (bytes)", of(&node, "/disk_free")),
        ("Free disk space low watermark (bytes)", of(&node, "/disk_free_limit")),
        ("File descriptors", of(&node, "/fd_used")),
        ("File descriptors limit", of(&node, "/fd_total")),
        ("Connections", of(&about, "/object_totals/connections")),
        ("Channels", of(&about, "/object_totals/channels")),
        ("Queues", of(&about, "/object_totals/queues")),
        ("Consumers", of(&about, "/object_totals/consumers")),
        ("Messages", of(&about, "/queue_totals/messages")),
    ];
    Ok(one(call.options, "Status of the broker", &fields))
}

pub(crate) fn cluster_status(call: &Call<'_>) -> Result<String, Failure> {
    let about = call.client.get("/api/overview")?;
    let of = |path: &str| about.pointer(path).cloned().unwrap_or_default();
    let nodes = json!([of("/node")]);
    let fields = [
        ("Cluster name", of("/cluster_name")),
        ("Disk Nodes", nodes.clone()),
        ("Running Nodes", nodes),
    ];
    Ok(one(call.options, "Cluster status", &fields))
}

pub(crate) fn ping(call: &Call<'_>) -> Result<String, Failure> {
    call.client.get("/health")?;
    Ok(done(call.options, "Ping succeeded"))
}

fn check(call: &Call<'_>, path: &str, good: &str) -> Result<String, Failure> {
    call.client.get(&format!("/api/health/checks/{path}"))?;
    Ok(done(call.options, good))
}

pub(crate) fn check_alarms(call: &Call<'_>) -> Result<String, Failure> {
    check(call, "alarms", "There are no alarms")
}

pub(crate) fn check_virtual_hosts(call: &Call<'_>) -> Result<String, Failure> {
    check(call, "virtual-hosts", "All virtual hosts are there")
}

pub(crate) fn check_port_listener(call: &Call<'_>) -> Result<String, Failure> {
    let port = call.argument(0);
    check(call, &format!("port-listener/{}", part(port)), &format!("A listener is on port {port}"))
}

pub(crate) fn listeners(call: &Call<'_>) -> Result<String, Failure> {
    let about = call.client.get("/api/overview?columns=listeners")?;
    let rows = about.get("listeners").and_then(Value::as_array);
    let columns = [("interface", "ip_address"), ("port", "port"), ("protocol", "protocol")];
    let rows = rows.map_or(&[][..], Vec::as_slice);
    Ok(write_list(call.options, "Listing listeners", &columns, rows))
}

pub(crate) fn export_definitions(call: &Call<'_>) -> Result<String, Failure> {
    let file = call.client.get("/api/definitions")?;
    let text = serde_json::to_string_pretty(&file).unwrap_or_else(|_| file.to_string());
    match call.arguments.first() {
        None => Ok(format!("{text}\n")),
        Some(path) if path == "-" => Ok(format!("{text}\n")),
        Some(path) => {
            let failed = |error| Failure::Data(format!("{path}: {error}"));
            std::fs::write(path, text).map_err(failed)?;
            Ok(done(call.options, &format!("Exporting definitions to \"{path}\"")))
        }
    }
}

pub(crate) fn import_definitions(call: &Call<'_>) -> Result<String, Failure> {
    let path = call.argument(0);
    let failed = |error: String| Failure::Data(format!("{path}: {error}"));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let file: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    call.client.ask("POST", "/api/definitions", Some(&file), &[])?;
    Ok(done(call.options, &format!("Importing definitions from \"{path}\"")))
}

pub(crate) fn set_global_parameter(call: &Call<'_>) -> Result<String, Failure> {
    let (name, text) = (call.argument(0), call.argument(1));
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Failure::Data(format!("'{text}' is not JSON: {error}")))?;
    let path = format!("/api/global-parameters/{}", part(name));
    call.client.put(&path, &json!({ "name": name, "value": value }))?;
    Ok(done(call.options, &format!("Setting global runtime parameter \"{name}\"")))
}

pub(crate) fn clear_global_parameter(call: &Call<'_>) -> Result<String, Failure> {
    let name = call.argument(0);
    call.client.delete(&format!("/api/global-parameters/{}", part(name)))?;
    Ok(done(call.options, &format!("Clearing global runtime parameter \"{name}\"")))
}

pub(crate) fn list_global_parameters(call: &Call<'_>) -> Result<String, Failure> {
    let all = call.client.get("/api/global-parameters")?;
    let rows = all.as_array().map_or(&[][..], Vec::as_slice);
    let columns = [("name", "name"), ("value", "value")];
    Ok(write_list(call.options, "Listing global runtime parameters", &columns, rows))
}
