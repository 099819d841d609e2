//! HTTP: where it is, and who may use it.

use super::{Field, password, path, quoted, shown_path, size, size_between, whole};
use crate::limits::{BULK_BYTES_CAP, HTTP_HOSTS_MAX};

pub(super) static FIELDS: &[Field] = &[
    Field {
        name: "http_port",
        doc: "TCP port of HTTP: REST, dashboard, metrics; 0: none.",
        default: "8081, or none if that is in use",
        set: |config, text| {
            whole(text, 0, u16::MAX.into()).map(|port| config.http_port = Some(port))
        },
        get: |config| config.http_port.map(|port| port.to_string()),
    },
    Field {
        name: "http_bind",
        doc: "Address of HTTP. One that other machines reach needs a token (http_token_file) or a password (requirepass_file).",
        default: "127.0.0.1",
        set: |config, text| {
            let bind = text.parse().map_err(|_| format!("'{text}' is not an IP address"))?;
            config.http_bind = bind;
            Ok(())
        },
        get: |config| Some(quoted(&config.http_bind.to_string())),
    },
    Field {
        name: "http_token",
        doc: "What HTTP's clients must send: Authorization: Bearer TOKEN. Empty: none. What is said of requirepass holds.",
        default: "",
        set: |config, text| {
            config.http_token = password(text);
            config.http_token_file = None;
            Ok(())
        },
        get: |_| None,
    },
    Field {
        name: "http_token_file",
        doc: "File whose first line is that token; must not be readable by others.",
        default: "",
        set: |config, text| {
            config.http_token_file = path(text);
            config.http_token = None;
            Ok(())
        },
        get: |config| Some(shown_path(config.http_token_file.as_deref())),
    },
    Field {
        name: "http_hosts",
        doc: "Further names under which HTTP is asked for, as a browser shows them: \"db.example, db2.example\". localhost and\n\
              the address that was connected to are always taken; other names are refused: a foreign page could ask by them.",
        default: "",
        set: |config, text| {
            config.http_hosts = hosts(text)?;
            Ok(())
        },
        get: |config| Some(quoted(&config.http_hosts.join(", "))),
    },
    Field {
        name: "http_body_max",
        doc: "Longest body of a request, in bytes. Larger: one client can make the server hold more.",
        default: "64MB, or what a longest value needs if that is less",
        set: |config, text| {
            config.http_body_max = Some(size_between(text, 1 << 10, BULK_BYTES_CAP.into())?);
            Ok(())
        },
        get: |config| config.http_body_max.map(size),
    },
];

/// Names between blanks or commas, in lower case.
fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text
        .split([',', ' '])
        .filter(|name| !name.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let is_plain = |name: &String| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte))
    };
    if let Some(name) = names.iter().find(|name| !is_plain(name)) {
        return Err(format!("'{name}' is no name of a host"));
    }
    if names.len() > HTTP_HOSTS_MAX {
        return Err(format!("{} names, at most {HTTP_HOSTS_MAX}", names.len()));
    }
    Ok(names)
}
