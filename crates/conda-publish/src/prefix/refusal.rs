//! What a person can do about an upload that the server refuses.

use http::StatusCode;

use super::token::Origin;

/// By what the server answers, and whose credentials it was asked with.
pub(super) fn help(status: StatusCode, origin: Origin) -> &'static str {
    match (status.as_u16(), origin) {
        (401, Origin::Minted) => {
            "the server takes no token of its own that it made a moment ago: run the same command again, and tell those who run the server if that stays so"
        }
        (401, Origin::Variable) => {
            "the API key in `PREFIX_API_KEY` is not valid there or has ended: make a new one in the server's settings"
        }
        (401, Origin::Stored) => {
            "the stored credentials are not valid there or have ended: store new ones with `pixi auth login` or `rattler auth login`"
        }
        (403, Origin::Minted) => {
            "name this repository, workflow and environment as a trusted publisher of this very channel, and check that the channel's settings allow the upload"
        }
        (403, _) => {
            "give the API key write access to this channel, and check that the channel's settings allow the upload"
        }
        (404, _) => {
            "check the channel's name, and make it on the server's website before anything is published there"
        }
        (409, _) => {
            "raise the package's build number or version; a published name keeps its content for ever"
        }
        (413 | 507, _) => {
            "the package is larger than the server takes, or the channel has used up its storage: make the package smaller, or ask for more storage in the channel's settings"
        }
        (422, _) => {
            "the server found the package or its attestation wrong: check that it is attested for the URL of this very channel, and that the channel trusts the identity which signed it"
        }
        (400, _) => {
            "the server does not understand the upload: check that the URL is that of a prefix.dev server, and look for a newer conda-release"
        }
        _ => "look at the channel's settings on the server's website",
    }
}
