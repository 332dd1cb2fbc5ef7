import type {Named} from '../commands/inviteUser.ts'
import type {UserId} from '../domain/user.ts'
import type {KeyStore} from '../keys/keyStore.ts'
import {normaliseAddress} from '../mail/address.ts'

/**
 * The `userId` of an invite: a user id as lists show it, or an identity: an address (with or without `email_`), a Discord
 * id (17–20 digits) or a Reddit id (1–13 of 0-9a-z), with or without the provider. Null: none of these.
 */
export const parseInvitee = (value: string, keys: KeyStore): Named | null => {
  if (/^(email|discord|reddit)_[a-z2-7]{26}$/.test(value)) return {userId: value as UserId}
  if (value.includes('@')) {
    const address = normaliseAddress(value.trim().startsWith('email_') ? value.trim().slice(6) : value)
    return address === null ? null : {identity: keys.identityHash('email', address)}
  }
  const discord = /^(?:discord_)?(\d{17,20})$/.exec(value)?.[1]
  if (discord) return {identity: keys.identityHash('discord', discord)}
  const reddit = /^(?:reddit_)?([0-9a-z]{1,13})$/.exec(value)?.[1]
  return reddit ? {identity: keys.identityHash('reddit', reddit)} : null
}
