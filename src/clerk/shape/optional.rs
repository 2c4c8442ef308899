//! What Clerk may leave out, from the fields that its OpenAPI of webhook events (2025-04-15) does not require.
//!
//! Needed for those that all samples happen to have, and for those that none has.

use serde_json::Value;

/// By the `object` word of the holder, or by the name under which it stands.
#[rustfmt::skip]
pub(super) const OPTIONAL: &[(&str, &[&str])] = &[
    ("event", &["event_attributes"]),
    ("event_attributes", &["http_request"]),
    ("http_request", &["client_ip", "user_agent"]),
    ("deleted", &["id", "slug", "external_id"]),
    ("user", &[
        "locale", "profile_image_url", "image_url", "private_metadata", "unsafe_metadata", "password_last_updated_at",
        "organization_memberships", "deprovisioned", "create_organizations_limit", "bypass_client_trust", "scim",
    ]),
    ("email_address", &["id", "matches_sso_connection"]),
    ("phone_number", &["id", "reserved_for_second_factor", "default_second_factor", "backup_codes"]),
    ("verification", &[
        "object", "channel", "error", "expire_at", "external_verification_redirect_url", "message", "nonce",
        "verified_at_client",
    ]),
    // `user` is in what Clerk sends, though not in the schema.
    ("session", &["actor", "last_active_organization_id", "latest_activity", "user"]),
    ("session_activity", &["device_type", "browser_name", "browser_version", "ip_address", "city", "country"]),
    ("email", &[
        "reply_to_email_name", "to_email_address", "email_address_id", "user_id", "subject", "body", "body_plain",
        "status", "suppression_reason",
    ]),
    // `created_at` is in the types of `@clerk/backend`, and `created_at_ms` in the schema.
    ("sms_message", &["slug", "phone_number_id", "user_id", "created_at", "created_at_ms"]),
    ("organization", &[
        "image_url", "members_count", "missing_member_with_elevated_permissions", "pending_invitations_count",
        "private_metadata", "created_by", "last_active_at", "role_set_key",
    ]),
    ("organization_domain", &["public_organization_data"]),
    ("public_organization_data", &["image_url"]),
    ("organization_invitation", &["organization_id", "status", "private_metadata", "user_id"]),
    ("organization_membership", &["role_name", "private_metadata", "public_user_data"]),
    ("public_user_data", &["identifier", "username", "banned", "deprovisioned"]),
    ("waitlist_entry", &["is_locked", "invitation"]),
    ("invitation", &["revoked", "url", "expires_at"]),
    ("commerce_payer", &["object", "created_at", "updated_at"]),
    // Of payments and of subscriptions; the two have different ones.
    ("commerce_subscription_item", &["payer", "subscription_id", "credit", "credits", "seats", "is_free_trial"]),
    ("plan", &["unit_prices"]),
    ("credits", &["proration", "payer"]),
    ("totals", &["per_unit_totals"]),
];

/// What the holder, which stands under `name`, may have or not.
pub(super) fn members<'v>(name: &'v str, holder: &'v Value) -> impl Iterator<Item = &'static str> + use<'v> {
    let kind = match holder.get("deleted") {
        Some(Value::Bool(true)) => "deleted",
        _ => holder.get("object").and_then(Value::as_str).unwrap_or(name),
    };
    let lists = OPTIONAL.iter().filter(move |(known, _)| *known == kind || (kind != "deleted" && *known == name));
    lists.flat_map(|(_, members)| *members).copied()
}

/// Metadata is up to whoever uses Clerk. Each provider of external accounts has fields of its own.
pub(super) fn is_open(name: &str) -> bool {
    name.ends_with("_metadata") || name == "external_accounts"
}

/// Of these, the OpenAPI has the deleted object alone and the types of `@clerk/backend` have all of it.
pub(super) fn is_disputed(event_type: &str) -> bool {
    matches!(event_type, "role.deleted" | "permission.deleted")
}
