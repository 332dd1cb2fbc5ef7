import type {Pool} from 'pg'
import type {IdentityHash} from '../domain/identity.ts'
import type {Provider, UserId} from '../domain/user.ts'
import {readTable} from './readTable.ts'

/** People and registration attempts. `verified`: this one owns its identity; attempts beside it are dead. */
export const users = readTable({
  name: 'users',
  version: 1,
  columns: {
    user_id: 'text',
    identity: 'text',
    provider: 'text',
    email: 'text',
    username: 'text',
    has_password: 'boolean',
    verified: 'boolean',
    expires_at: 'timestamptz',
    position: 'bigint',
  },
  key: ['user_id'],
  indexes: ['(identity)'],
  erased: [{where: 'user_id', set: null}],
  handlers: {
    UserRegistered: ({data, metadata, position}, rows) =>
      rows.put({
        user_id: data.userId,
        identity: data.identity,
        provider: data.provider,
        email: data.email,
        username: data.username,
        has_password: data.passwordHash !== null,
        verified: false,
        // Who came by a provider and was cut off before the identity was claimed is an attempt without a link.
        expires_at: data.tokenExpiresAt ?? metadata.time,
        position,
      }),
    VerificationRequested: ({data}, rows) => rows.patch({user_id: data.userId}, {expires_at: data.tokenExpiresAt}),
    PasswordChanged: ({data}, rows) => rows.patch({user_id: data.userId}, {has_password: true}),
    ProfileChanged: ({data}, rows) => rows.patch({user_id: data.userId}, {username: data.username, email: data.email}),
    IdentityClaimed: ({data}, rows) => rows.patch({user_id: data.userId}, {verified: true}),
  },
})

export type UserRow = {
  userId: UserId
  identity: IdentityHash
  provider: Provider
  email: string | null
  username: string
}

/** A person by id; registration attempts are not people yet. */
export const findUser = async (pool: Pool, userId: string): Promise<UserRow | null> => {
  const {rows} = await pool.query<UserRow>({
    name: 'find user',
    text: `SELECT user_id AS "userId", identity, provider, email, username FROM ${users.view} WHERE user_id = $1 AND verified`,
    values: [userId],
  })
  return rows[0] ?? null
}

/** Registration attempts for an identity that nobody has verified yet, newest first, at most 100. */
export const findOpenAttempts = async (
  pool: Pool,
  identity: IdentityHash,
): Promise<{userId: UserId; hasPassword: boolean}[]> => {
  const {rows} = await pool.query<{userId: UserId; hasPassword: boolean}>(
    `SELECT user_id AS "userId", has_password AS "hasPassword" FROM ${users.view} u WHERE identity = $1
     AND NOT EXISTS (SELECT FROM ${users.view} v WHERE v.identity = $1 AND v.verified)
     ORDER BY position DESC LIMIT 100`,
    [identity],
  )
  return rows
}

/** Attempts that can come to nothing: out of time, or the address was verified by another. Not those that are erased. By id, after `after`. */
export const listDeadAttempts = async (
  pool: Pool,
  {after, limit}: {after: string; limit: number},
): Promise<UserId[]> => {
  const {rows} = await pool.query<{userId: UserId}>(
    `SELECT user_id AS "userId" FROM ${users.view} u JOIN keys.people ON person = user_id
     WHERE wrapped IS NOT NULL AND NOT verified AND (
       expires_at < now() - interval '1 hour'
       OR EXISTS (SELECT FROM ${users.view} v WHERE v.identity = u.identity AND v.verified)
     ) AND user_id > $1 ORDER BY user_id LIMIT $2`,
    [after, limit],
  )
  return rows.map(({userId}) => userId)
}

/** All attempts for an identity that this person owns. */
export const listAttemptsBeside = async (pool: Pool, userId: UserId, identity: IdentityHash): Promise<UserId[]> => {
  const {rows} = await pool.query<{userId: UserId}>(
    `SELECT user_id AS "userId" FROM ${users.view} WHERE identity = $2 AND user_id <> $1 AND NOT verified`,
    [userId, identity],
  )
  return rows.map(({userId}) => userId)
}
