//! The databases that a server can be on, and what stands in them.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use std::path::Path;

/// A database: SQLite in the data directory, or one of its own on the PostgreSQL server of the environment.
#[derive(Clone, Debug)]
pub enum Database {
    /// In the data directory.
    Sqlite,
    /// The address of a database made for the test, the server's address, the database's name.
    Postgres(String, String, String),
}

/// `OSTLER_TEST_POSTGRES`: the address of a server on which databases may be made.
const VARIABLE: &str = "OSTLER_TEST_POSTGRES";

impl Database {
    /// A new database on PostgreSQL; none, and a notice, where there is no server.
    pub async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var(VARIABLE) else {
            println!("SKIPPED: {VARIABLE} is not set");
            return None;
        };
        let (base, parameters) = server.split_once('?').unwrap_or((&server, ""));
        let root = base.rsplit_once('/').filter(|(root, _)| !root.ends_with('/')).map_or(base, |(root, _)| root);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("ostler_e2e_{}_{now}", std::process::id());
        execute(&server, format!("CREATE DATABASE {name}")).await;
        Some(Self::Postgres(format!("{root}/{name}?{parameters}"), server, name))
    }

    /// For `ostler.toml`.
    pub fn toml(&self) -> String {
        match self {
            Self::Sqlite => String::new(),
            Self::Postgres(url, ..) => format!("[store]\nurl = \"{url}\"\n"),
        }
    }

    /// Cloud, state and node of each operation that creates a node, in the order of their beginning. The server need not run.
    pub async fn creations(&self, data: &Path) -> Vec<(String, String, Option<String>)> {
        const SQL: &str = "SELECT cloud, state, node_id FROM operations WHERE kind LIKE 'create%' ORDER BY id";
        match self {
            Self::Sqlite => {
                let url = format!("sqlite:{}", data.join("ostler.db").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                let rows = sqlx::query(SQL).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
            }
            Self::Postgres(url, ..) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let rows = sqlx::query(SQL).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
            }
        }
    }

    /// What should not be left when all is quiet: pending operations, reservations that nobody closed, accounts whose balance is
    /// not the sum of their entries, nodes that belong to no running service. A line each.
    pub async fn loose_ends(&self, data: &Path) -> Vec<String> {
        const SQL: &str = "
            SELECT 'operation ' || id || ' ' || kind FROM operations WHERE state = 'pending'
            UNION ALL
            SELECT 'reservation ' || r.id FROM credit_entries r WHERE r.kind = 'reserve'
                AND NOT EXISTS (SELECT 1 FROM credit_entries c WHERE c.reservation = r.id)
            UNION ALL
            SELECT 'account ' || a.user_id FROM credit_accounts a
                WHERE a.balance <> (SELECT COALESCE(SUM(e.amount), 0) FROM credit_entries e WHERE e.user_id = a.user_id)
            UNION ALL
            SELECT 'node ' || n.id || ' ' || n.state FROM service_nodes n JOIN services s ON s.id = n.service_id
                WHERE n.state <> 'present' OR s.state <> 'running'";
        match self {
            Self::Sqlite => {
                let url = format!("sqlite:{}?mode=ro", data.join("ostler.db").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                sqlx::query(SQL).fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get(0)).collect()
            }
            Self::Postgres(url, ..) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query(SQL).fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Makes a user with this role and the administrator's password. Of an SQLite database, while the server does not run.
    pub async fn clone_administrator(data: &Path, name: &str, role: &str) {
        // A number that the server's own counter does not come to.
        const USER: &str = "INSERT INTO users (id, username, password_hash, active, created_at, updated_at, number)
            SELECT $1, $1, password_hash, active, created_at, updated_at, (SELECT max(number) + 1000000 FROM users)
            FROM users WHERE username = 'admin'";
        const ROLE: &str = "INSERT INTO user_roles (user_id, role) VALUES ($1, $2)";
        let url = format!("sqlite:{}", data.join("ostler.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let done = sqlx::query(USER).bind(name).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        sqlx::query(ROLE).bind(name).bind(role).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Drops what was made for the test.
    pub async fn remove(self) {
        if let Self::Postgres(_, server, name) = self {
            execute(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

async fn execute(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
