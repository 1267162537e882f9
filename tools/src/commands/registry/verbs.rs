//! The verbs below `registry`, and their old names below `remote`.

use clap::Args;

use super::super::{EMPTY, services};
use crate::cli::admin::WordArgs;
use crate::cli::registry::{LoginArgs, LogoutArgs, RemoteLoginArgs};
use crate::cli::verb::{Arity, Verb, call};

/// `registry …`
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "list",
        about: "List all OCI credentials that are configured",
        settings: true,
        arity: Arity::Exactly(0),
        augment: LogoutArgs::augment_args,
        run: |matches, context| call(matches, context, super::list),
        ..EMPTY
    },
    Verb {
        name: "login",
        about: "Login to an OCI/Docker registry",
        settings: true,
        usage: "[login options...] <registry_uri>",
        examples: &[
            "registry login --username foo docker://docker.io",
            "registry login --username foo oras://myregistry.example.com",
        ],
        arity: Arity::Exactly(1),
        augment: LoginArgs::augment_args,
        run: |matches, context| call(matches, context, super::login),
        ..EMPTY
    },
    Verb {
        name: "logout",
        about: "Logout from an OCI/Docker registry",
        settings: true,
        usage: "<registry_uri>",
        examples: &["registry logout docker://docker.io"],
        arity: Arity::Between(0, 1),
        augment: LogoutArgs::augment_args,
        run: |matches, context| call(matches, context, super::logout),
        ..EMPTY
    },
];

/// `remote …`: logins, and endpoints, of which there are none.
pub(crate) const OLD_VERBS: &[Verb] = &[
    services::ADD,
    services::GET_LOGIN_PASSWORD,
    services::LIST,
    Verb {
        name: "login",
        about: "Login to an OCI/Docker registry",
        settings: true,
        usage: "[login options...] <registry_uri>",
        arity: Arity::Between(0, 1),
        augment: RemoteLoginArgs::augment_args,
        run: |matches, context| call(matches, context, super::remote_login),
        ..EMPTY
    },
    Verb {
        name: "logout",
        about: "Logout from an OCI/Docker registry",
        settings: true,
        usage: "<registry_uri>",
        arity: Arity::Between(0, 1),
        augment: WordArgs::augment_args,
        run: |matches, context| call(matches, context, super::remote_logout),
        ..EMPTY
    },
    services::REMOVE,
    services::STATUS,
    services::USE,
];
