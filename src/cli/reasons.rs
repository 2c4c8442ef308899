//! What the reasons of deliveries mean, and what to do about them.

use crate::store::State;

/// A sentence for a reason, where there is more to say than the word itself.
pub fn explain_reason(reason: &str, state: State, id: &str) -> Option<String> {
    let replay = format!("then `deskbell replay {id}`");
    let explain = format!("`deskbell explain --id {id}`");
    let sentence = match reason {
        "trigger_not_active" => format!("the workflow is not active in Novu; switch it on, {replay}"),
        "workflow_not_found" => {
            format!("Novu has no workflow of that id in this environment; create it or mend `workflow`, {replay}")
        }
        "no_workflow_steps_defined" | "no_workflow_active_steps_defined" => {
            format!("the workflow has no active step in Novu; add one, {replay}")
        }
        "error" => format!("Novu has failed to queue it, and does not say why; `deskbell replay {id}` tries it again"),
        "unknown_status" => format!("Novu has taken it and will do nothing; its activity feed may say why, {replay}"),
        "no_tenant_found" => format!("Novu does not know this tenant; create it or mend `tenant`, {replay}"),
        "invalid_recipients" => {
            format!("Novu does not take this subscriber id or topic; {explain} shows it; mend the route, {replay}")
        }
        "status_413" => format!("the request is too large for Novu; {explain} shows it; send less, {replay}"),
        "idempotency_key_reused" => format!("Novu has seen another request of this delivery; `deskbell replay {id}`"),
        "gave_up" => {
            format!("Novu failed for as long as `give_up_after` allows; when it works again, `deskbell replay {id}`")
        }
        "no_subscriber_id" => {
            format!("the event has nothing to fill `subscriberId` with; {explain} says why; mend the route, {replay}")
        }
        "no_topic_key" => {
            format!("the event has nothing to fill `topic` with; {explain} says why; mend the route, {replay}")
        }
        "no_workflow" => {
            format!("the event has nothing to fill `workflow` with; {explain} says why; mend the route, {replay}")
        }
        "too_many_items" => format!("`each` selects too many items; {explain} says how many; mend the route, {replay}"),
        "template_failed" => {
            format!("a template cannot work with this event; {explain} says why; mend the route, {replay}")
        }
        "dropped" => format!("it was cancelled by `deskbell drop`; `deskbell replay {id}` sends it after all"),
        "superseded" => "it was dead, and a replay has sent another in its place".to_owned(),
        "throttled" => "Novu asked to wait".to_owned(),
        "timeout" => "Novu gave no answer in time; whether it was done is not known, and it is tried again".to_owned(),
        "connection_lost" => {
            "the connection was lost; whether it was done is not known, and it is tried again".to_owned()
        }
        "in_progress" => "Novu is still at an earlier attempt".to_owned(),
        "unreachable" => "there is no connection to `novu.api_url`; is the address right, and Novu there?".to_owned(),
        "rejected_in_bulk" => {
            "Novu has turned down a call for many, perhaps for the sake of another; it goes alone now".to_owned()
        }
        "bulk_mismatch" => "Novu's answer to a call for many does not say which is which; it goes alone now".to_owned(),
        "tls_failed" => "the certificate at `novu.api_url` is not trusted; something else may answer there".to_owned(),
        "status_401" | "status_403" => "Novu does not take the key; is it of this environment and region?".to_owned(),
        "status_402" => "Novu's plan does not allow it".to_owned(),
        "status_404" => "there is no Novu at `novu.api_url`; is the address right?".to_owned(),
        _ if reason.starts_with("not_novu") || reason.starts_with("status_3") => {
            "something else than Novu answers at `novu.api_url`: a proxy, or a wrong address".to_owned()
        }
        "status_408" | "status_425" => "something on the way to Novu has failed, and it is tried again".to_owned(),
        _ if reason.starts_with("status_4") && state != State::Dead => {
            "Novu has repeated what it said before, and it is tried again under another key".to_owned()
        }
        _ if reason.starts_with("status_4") => {
            format!("Novu does not take this request; {explain} shows it; mend the route or the workflow, {replay}")
        }
        _ if reason.starts_with("status_5") => "Novu has failed, and it is tried again".to_owned(),
        _ => return None,
    };
    Some(sentence)
}

/// A sentence for a state that has no reason.
pub fn explain_state(state: State, route: &str, source: &str, id: &str) -> Option<String> {
    match state {
        State::Expired => Some(format!(
            "it was older than the route's `max_age` when its turn came; with a longer one, `deskbell replay {id}` sends it"
        )),
        State::Paused => Some(format!(
            "it waits until `deskbell resume --route {route}`, `--source {source}` or `--all`, whichever was paused"
        )),
        State::Delivered => Some("Novu has taken it; its activity feed shows what it made of it".to_owned()),
        _ => None,
    }
}
