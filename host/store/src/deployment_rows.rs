//! The rows of deployments.

use serde_json::Value;

use crate::db::{Row, Tx, args};
use crate::{Deployment, DeploymentChange, DeploymentStatus, DeploymentTask, Error, NewDeployment, Operation, Owner};

/// How many bytes of a log are kept.
const LOG: usize = 256 * 1024;

/// The columns of a deployment `d` and, but for the log, of its texts `t`.
macro_rules! deployment_columns {
    () => {
        "d.id, d.user_id, d.issuer, d.subject, d.organisation, d.user_group, d.status, d.status_reason, d.task, d.callback, \
         d.max_attempts, d.timeout, d.attempt_timeout, d.keep_last_attempt, d.cloud, d.physical_id, d.endpoint, d.outputs, \
         d.attempts, d.operation, d.created_at, d.updated_at, t.template, t.parameters"
    };
}
pub(crate) use deployment_columns;

/// How many they are; the log comes after them.
pub(crate) const COLUMNS: usize = 24;

/// One deployment.
pub(crate) const GET: &str = concat!(
    "SELECT ",
    deployment_columns!(),
    ", t.log FROM deployments d JOIN deployment_texts t ON t.deployment = d.id WHERE d.id = $1"
);

/// Writes down a new deployment in the caller's transaction.
pub(crate) async fn insert(tx: &mut Tx, new: &NewDeployment, operation: &Operation) -> Result<(), Error> {
    let owner = new.owner.as_ref();
    let sql = "INSERT INTO deployments (id, user_id, issuer, subject, organisation, user_group, status, task, callback, \
               max_attempts, timeout, attempt_timeout, keep_last_attempt, operation, created_at, updated_at, outputs, attempts) \
               VALUES ($1, $2, $3, $4, $5, $6, 'CREATE_IN_PROGRESS', 'NONE', $7, $8, $9, $10, $11, $12, $13, $13, '{}', '[]')";
    let args = args![
        &new.id,
        owner.and_then(|owner| owner.user_id.as_deref()),
        owner.map(|owner| owner.issuer.as_str()),
        owner.map(|owner| owner.subject.as_str()),
        owner.and_then(|owner| owner.organisation.as_deref()),
        &new.user_group,
        &new.callback,
        new.max_attempts.map(i64::from),
        new.timeout,
        new.attempt_timeout,
        new.keep_last_attempt,
        &operation.id,
        crate::now(),
    ];
    tx.execute(sql, args).await.map_err(|error| match error {
        Error::NotFound(_) => error.about("the user"),
        error => error.about("the deployment"),
    })?;
    let sql = "INSERT INTO deployment_texts (deployment, template, parameters, log) VALUES ($1, $2, $3, '')";
    tx.execute(sql, args![&new.id, &new.template, &new.parameters.to_string()]).await?;
    Ok(())
}

/// Changes a deployment in the caller's transaction; whether there is one.
pub(crate) async fn apply(tx: &mut Tx, id: &str, change: &DeploymentChange) -> Result<bool, Error> {
    let sql = "UPDATE deployments SET updated_at = $2, status = COALESCE($3, status), task = COALESCE($4, task), \
               keep_last_attempt = COALESCE($5, keep_last_attempt), outputs = COALESCE($6, outputs), \
               attempts = COALESCE($7, attempts), \
               status_reason = CASE WHEN $8 = 1 THEN $9 ELSE status_reason END, \
               callback = CASE WHEN $10 = 1 THEN $11 ELSE callback END, \
               max_attempts = CASE WHEN $12 = 1 THEN $13 ELSE max_attempts END, \
               timeout = CASE WHEN $14 = 1 THEN $15 ELSE timeout END, \
               attempt_timeout = CASE WHEN $16 = 1 THEN $17 ELSE attempt_timeout END, \
               cloud = CASE WHEN $18 = 1 THEN $19 ELSE cloud END, \
               physical_id = CASE WHEN $20 = 1 THEN $21 ELSE physical_id END, \
               endpoint = CASE WHEN $22 = 1 THEN $23 ELSE endpoint END, \
               operation = CASE WHEN $24 = 1 THEN $25 ELSE operation END \
               WHERE id = $1 AND (CAST($26 AS TEXT) IS NULL OR operation = $26)";
    let (outputs, attempts) = (json(change.outputs.as_ref()), json(change.attempts.as_ref()));
    let endpoint = json(change.endpoint.iter().flatten().next());
    let args = args![
        id,
        crate::now(),
        change.status.map(DeploymentStatus::as_str),
        change.task.map(DeploymentTask::as_str),
        change.keep_last_attempt.map(i64::from),
        &outputs,
        &attempts,
        change.status_reason.is_some(),
        change.status_reason.as_ref().and_then(Option::as_deref),
        change.callback.is_some(),
        change.callback.as_ref().and_then(Option::as_deref),
        change.max_attempts.is_some(),
        change.max_attempts.flatten().map(i64::from),
        change.timeout.is_some(),
        change.timeout.flatten(),
        change.attempt_timeout.is_some(),
        change.attempt_timeout.flatten(),
        change.cloud.is_some(),
        change.cloud.as_ref().and_then(Option::as_deref),
        change.physical_id.is_some(),
        change.physical_id.as_ref().and_then(Option::as_deref),
        change.endpoint.is_some(),
        &endpoint,
        change.operation.is_some(),
        change.operation.as_ref().and_then(Option::as_deref),
        &change.during,
    ];
    if tx.execute(sql, args).await? == 0 {
        let sql = "SELECT 1 FROM deployments WHERE id = $1";
        return if tx.optional(sql, args![id]).await?.is_some() { Err(Error::Lost) } else { Ok(false) };
    }
    apply_texts(tx, id, change).await?;
    Ok(true)
}

/// Changes the texts of a deployment whose row is locked.
async fn apply_texts(tx: &mut Tx, id: &str, change: &DeploymentChange) -> Result<(), Error> {
    let mut log = None;
    if let Some(line) = &change.log_line {
        let row = tx.one("SELECT log FROM deployment_texts WHERE deployment = $1", args![id]).await?;
        log = Some(with_line(row.get(0)?, line));
    }
    if log.is_some() || change.template.is_some() || change.parameters.is_some() {
        let sql = "UPDATE deployment_texts SET template = COALESCE($2, template), parameters = COALESCE($3, parameters), \
                   log = COALESCE($4, log) WHERE deployment = $1";
        tx.execute(sql, args![id, &change.template, &json(change.parameters.as_ref()), &log]).await?;
    }
    Ok(())
}

/// A log with another line, from the beginning of a line on, as far back as it may go. Of a line that is too long by itself the
/// end.
fn with_line(mut log: String, line: &str) -> String {
    log.push_str(line);
    if !line.ends_with('\n') {
        log.push('\n');
    }
    let Some(excess) = log.len().checked_sub(LOG).filter(|excess| *excess > 0) else { return log };
    // A line may begin just there.
    let lines_end = log.bytes().skip(excess - 1).position(|byte| byte == b'\n').map(|at| excess + at);
    let start = lines_end.filter(|start| *start < log.len()).unwrap_or_else(|| log.ceil_char_boundary(excess));
    log.split_off(start)
}

/// What stands for JSON in the database.
pub(crate) fn json(value: Option<&Value>) -> Option<String> {
    value.map(Value::to_string)
}

/// A deployment with its log, from [`GET`].
pub(crate) fn whole(row: &Row) -> Result<Deployment, Error> {
    Ok(Deployment { log: row.get(COLUMNS)?, ..deployment(row)? })
}

/// A deployment without its log.
pub(crate) fn deployment(row: &Row) -> Result<Deployment, Error> {
    let max_attempts = row.get::<Option<i64>>(10)?.map(u32::try_from).transpose().map_err(|_| Error::Corrupt("number"))?;
    Ok(Deployment {
        id: row.get(0)?,
        owner: owner(row)?,
        user_group: row.get(5)?,
        status: DeploymentStatus::parse(&row.get::<String>(6)?)?,
        status_reason: row.get(7)?,
        task: DeploymentTask::parse(&row.get::<String>(8)?)?,
        callback: row.get(9)?,
        max_attempts,
        timeout: row.get(11)?,
        attempt_timeout: row.get(12)?,
        keep_last_attempt: row.flag(13)?,
        cloud: row.get(14)?,
        physical_id: row.get(15)?,
        endpoint: row.json_option(16)?,
        outputs: row.json(17)?,
        attempts: row.json(18)?,
        operation: row.get(19)?,
        created_at: row.get(20)?,
        updated_at: row.get(21)?,
        template: row.get(22)?,
        parameters: row.json(23)?,
        log: String::new(),
    })
}

/// Whose a deployment or a schedule is.
pub(crate) fn owner(row: &Row) -> Result<Option<Owner>, Error> {
    Ok(match (row.get(2)?, row.get(3)?) {
        (Some(issuer), Some(subject)) => Some(Owner { user_id: row.get(1)?, issuer, subject, organisation: row.get(4)? }),
        _ => None,
    })
}
