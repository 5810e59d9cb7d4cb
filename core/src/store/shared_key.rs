//! Keys of the ledger that every process on it shares, such as the one that signs cursors. They protect no text and no
//! signature of the log, so they lie in the database.

use sqlx::PgPool;

use super::aead::random;

/// The key of this name. The first process that needs it makes it.
pub async fn shared_key(pool: &PgPool, name: &str) -> Result<Vec<u8>, sqlx::Error> {
    sqlx::query("insert into api_keys (name, key) values ($1, $2) on conflict (name) do nothing")
        .bind(name)
        .bind(random::<32>())
        .execute(pool)
        .await?;
    sqlx::query_scalar("select key from api_keys where name = $1").bind(name).fetch_one(pool).await
}
