//! Where clients come in, and who may do what.

use super::{
    Field, choice, password, password_digest, path, quoted, shown_path, whole, yes_no, yes_or_no,
};
use crate::access::DebugCommand;

pub(super) static FIELDS: &[Field] = &[
    Field {
        name: "port",
        doc: "TCP port of the Redis protocol.",
        default: "8080",
        set: |config, text| whole(text, 1, u16::MAX.into()).map(|port| config.port = port),
        get: |config| Some(config.port.to_string()),
    },
    Field {
        name: "bind",
        doc: "Address to listen on. 0.0.0.0 is every IPv4 network of this machine: set a password then (requirepass_file).",
        default: "127.0.0.1",
        set: |config, text| {
            let bind = text.parse().map_err(|_| format!("'{text}' is not an IP address"))?;
            config.bind = bind;
            Ok(())
        },
        get: |config| Some(quoted(&config.bind.to_string())),
    },
    Field {
        name: "requirepass",
        doc: "Password of the default user; empty: none. Kept as its SHA-256 only, and shown nowhere. Not as a flag: others could\n\
              read it there; a file that has it must not be readable by others.",
        default: "",
        set: |config, text| {
            config.requirepass = password(text);
            config.requirepass_file = None;
            Ok(())
        },
        get: |_| None,
    },
    Field {
        name: "requirepass_sha256",
        doc: "The same as its SHA-256, in 64 hexadecimal digits.",
        default: "",
        set: |config, text| {
            config.requirepass = password_digest(text)?;
            config.requirepass_file = None;
            Ok(())
        },
        get: |_| None,
    },
    Field {
        name: "requirepass_file",
        doc: "File whose first line is the password of the default user; must not be readable by others (chmod 600).",
        default: "",
        set: |config, text| {
            config.requirepass_file = path(text);
            config.requirepass = None;
            Ok(())
        },
        get: |config| Some(shown_path(config.requirepass_file.as_deref())),
    },
    Field {
        name: "readonly_user",
        doc: "Name of a second user, who may use no command that writes or administers; empty: none. Needs a password.",
        default: "",
        set: |config, text| {
            if text == crate::access::DEFAULT_USER {
                return Err("the default user is another one".into());
            }
            if !text.chars().all(|char| char.is_ascii_graphic()) {
                return Err(format!(
                    "'{text}' has other characters than letters, digits and signs"
                ));
            }
            config.readonly_user = text.into();
            Ok(())
        },
        get: |config| Some(quoted(&config.readonly_user)),
    },
    Field {
        name: "readonly_password",
        doc: "Password of readonly_user. What is said of requirepass holds.",
        default: "",
        set: |config, text| {
            config.readonly_password = password(text);
            config.readonly_password_file = None;
            Ok(())
        },
        get: |_| None,
    },
    Field {
        name: "readonly_password_file",
        doc: "File whose first line is that password; must not be readable by others.",
        default: "",
        set: |config, text| {
            config.readonly_password_file = path(text);
            config.readonly_password = None;
            Ok(())
        },
        get: |config| Some(shown_path(config.readonly_password_file.as_deref())),
    },
    Field {
        name: "deny_commands",
        doc: "Commands that nobody may use, and categories: \"flushall, config|set, @dangerous\". Fixed at start.",
        default: "",
        set: |config, text| {
            crate::access::deny_list(text)?;
            config.deny_commands = text.into();
            Ok(())
        },
        get: |config| Some(quoted(&config.deny_commands)),
    },
    Field {
        name: "protected_mode",
        doc: "yes: as long as there is no password, clients of other machines are refused. no: they are served.",
        default: "yes",
        set: |config, text| yes_or_no(text).map(|on| config.protected_mode = on),
        get: |config| Some(quoted(yes_no(config.protected_mode))),
    },
    Field {
        name: "allow_remote_admin",
        doc: "yes: CONFIG SET, SHUTDOWN and DEBUG are taken from other machines, too. no: over loopback and the unix socket only.",
        default: "no",
        set: |config, text| yes_or_no(text).map(|on| config.allow_remote_admin = on),
        get: |config| Some(quoted(yes_no(config.allow_remote_admin))),
    },
    Field {
        name: "enable_debug_command",
        doc: "DEBUG, which can stop a core for a while. no: never. local: for clients of this machine. yes: for all administrators.",
        default: "no",
        set: |config, text| {
            config.enable_debug_command = choice(text, &DEBUG_COMMAND)?;
            Ok(())
        },
        get: |config| {
            let is_it = |(_, value): &&(&str, DebugCommand)| *value == config.enable_debug_command;
            DEBUG_COMMAND.iter().find(is_it).map(|(name, _)| quoted(name))
        },
    },
    Field {
        name: "unixsocket",
        doc: "Path of a unix socket to listen at, beside the port; empty: none. One that a killed server left behind is replaced.",
        default: "",
        set: |config, text| {
            config.unixsocket = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.unixsocket.as_deref())),
    },
    Field {
        name: "unixsocketperm",
        doc: "Mode of that socket, in octal: 700 for this user, 770 for the group, too.",
        default: "700",
        set: |config, text| {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
            let problem = || format!("'{text}' is not a mode from 0 to 777");
            config.unixsocketperm = mode.ok_or_else(problem)?;
            Ok(())
        },
        get: |config| Some(quoted(&format!("{:o}", config.unixsocketperm))),
    },
    Field {
        name: "tls_port",
        doc: "TCP port of the Redis protocol over TLS (1.2 or 1.3), beside the plain one; 0: none. Needs tls_cert and tls_key.",
        default: "0",
        set: |config, text| whole(text, 0, u16::MAX.into()).map(|port| config.tls_port = port),
        get: |config| Some(config.tls_port.to_string()),
    },
    Field {
        name: "tls_cert",
        doc: "File of the server's certificate and those between it and its authority, PEM.",
        default: "",
        set: |config, text| {
            config.tls_cert = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.tls_cert.as_deref())),
    },
    Field {
        name: "tls_key",
        doc: "File of its private key, PEM; must not be readable by others.",
        default: "",
        set: |config, text| {
            config.tls_key = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.tls_key.as_deref())),
    },
    Field {
        name: "tls_ca",
        doc: "File of authorities, PEM: clients must show a certificate of one of them. Empty: they need none.",
        default: "",
        set: |config, text| {
            config.tls_ca = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.tls_ca.as_deref())),
    },
];

const DEBUG_COMMAND: [(&str, DebugCommand); 3] =
    [("no", DebugCommand::No), ("local", DebugCommand::Local), ("yes", DebugCommand::Yes)];
