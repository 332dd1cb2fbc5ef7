import {z} from 'zod'
import {type Decision, type EventOf, eventType, refusal} from './event.ts'
import type {IdentityHash} from './identity.ts'
import {text} from './text.ts'
import {type Actor, UserId} from './user.ts'

export const MAX_MEMBERS = 10_000
export const MAX_INVITATIONS = 1_000

export const RoomId = z.string().brand('RoomId')
export type RoomId = z.infer<typeof RoomId>

export const RoomName = text({max: 100})
export const Visibility = z.enum(['invite', 'open'])
export type Visibility = z.infer<typeof Visibility>

/**
 * Who is invited: the hash of an identity, claimed or not, so that an invitation passes to whoever claims it; for a user
 * id that nobody has, a hash of that.
 */
export const Invitee = z.string().brand('Invitee')
export type Invitee = z.infer<typeof Invitee>
export const inviteeOf = (key: IdentityHash | string): Invitee => key as string as Invitee

export const RoomCreated = eventType('RoomCreated', {
  data: z.object({roomId: RoomId, name: z.string(), visibility: Visibility, creatorId: UserId}),
  plain: ['roomId', 'name', 'visibility', 'creatorId'],
})

/**
 * `named`: the user id or the hash of the identity that the inviter gave. Who is a member already, or invited under another
 * name, is not invited anew (`standing: 'old'`), but nobody shall learn from the log's positions that two names are one
 * person's: so that is an event as well, and one of the same size.
 */
export const UserInvited = eventType('UserInvited', {
  data: z.object({
    roomId: RoomId,
    invitee: Invitee,
    named: z.string(),
    standing: z.enum(['new', 'old']),
    inviterId: UserId,
    inviterName: z.string(),
  }),
  personal: {inviterId: ['inviterName']},
  plain: ['roomId', 'invitee', 'named', 'standing', 'inviterId'],
  version: 2,
  upcast: (data, version) => {
    if (version > 1) return data
    const {invitee} = data as {invitee: string}
    return {...(data as object), named: invitee, standing: 'new'}
  },
})

/** `invitation`: the invitation that joining used up, if there was one. */
export const UserJoined = eventType('UserJoined', {
  data: z.object({
    roomId: RoomId,
    userId: UserId,
    username: z.string(),
    isBot: z.boolean(),
    invitation: Invitee.nullable(),
  }),
  personal: {userId: ['username']},
  plain: ['roomId', 'userId', 'invitation'],
})

export const UserLeft = eventType('UserLeft', {
  data: z.object({roomId: RoomId, userId: UserId, username: z.string()}),
  personal: {userId: ['username']},
  plain: ['roomId', 'userId'],
})

export const InvitationDeclined = eventType('InvitationDeclined', {
  data: z.object({roomId: RoomId, invitee: Invitee, userId: UserId}),
  plain: ['roomId', 'invitee', 'userId'],
})

export type RoomEvent =
  | EventOf<typeof RoomCreated>
  | EventOf<typeof UserInvited>
  | EventOf<typeof UserJoined>
  | EventOf<typeof UserLeft>
  | EventOf<typeof InvitationDeclined>

export type Member = {username: string; isBot: boolean}
type Facts = {roomId: RoomId; name: string; visibility: Visibility; createdBy: UserId}
export type Room =
  | {kind: 'none'}
  | ({kind: 'room'; members: ReadonlyMap<UserId, Member>; invitations: Invitations} & Facts)

/** Open invitations by the name that each was given under. Null: that name is a member's, so it invites nobody. */
type Invitations = ReadonlyMap<string, Invitee | null>

export const noRoom: Room = {kind: 'none'}

/**
 * Folds a run of events. The maps are copied once a run and not once an event, because a room of 10,000 would else cost
 * the square of that to load; seen from outside it is as pure as a fold of single steps.
 */
export const evolveRoom = (room: Room, events: readonly RoomEvent[]): Room => {
  let facts: Facts | null = room.kind === 'room' ? room : null
  const members = new Map(room.kind === 'room' ? room.members : [])
  const invitations = new Map(room.kind === 'room' ? room.invitations : [])
  const close = (invitee: Invitee) => {
    for (const [named, one] of invitations) if (one === invitee) invitations.delete(named)
  }
  for (const {type, data} of events) {
    switch (type) {
      case 'RoomCreated':
        facts = {roomId: data.roomId, name: data.name, visibility: data.visibility, createdBy: data.creatorId}
        break
      case 'UserInvited':
        invitations.set(
          data.named,
          data.standing === 'new' || isInvited(invitations, data.invitee) ? data.invitee : null,
        )
        break
      case 'UserJoined':
        members.set(data.userId, {username: data.username, isBot: data.isBot})
        if (data.invitation) close(data.invitation)
        break
      case 'UserLeft':
        members.delete(data.userId)
        break
      case 'InvitationDeclined':
        close(data.invitee)
        break
    }
  }
  if (!facts) return noRoom
  const {roomId, name, visibility, createdBy} = facts
  return {kind: 'room', roomId, name, visibility, createdBy, members, invitations}
}

export const isMember = (room: Room, userId: string): boolean =>
  room.kind === 'room' && room.members.has(userId as UserId)

const isInvited = (invitations: Invitations, invitee: Invitee): boolean => {
  for (const one of invitations.values()) if (one === invitee) return true
  return false
}

const invitationOf = (room: Room & {kind: 'room'}, by: Actor): Invitee | null => {
  const invitee = by.identity === null ? null : inviteeOf(by.identity)
  return invitee !== null && isInvited(room.invitations, invitee) ? invitee : null
}

const joined = (roomId: RoomId, by: Actor, invitation: Invitee | null): RoomEvent => ({
  type: 'UserJoined',
  data: {roomId, userId: by.userId, username: by.username, isBot: by.isBot, invitation},
})

/** The creator is the first member. A room that is there already under this id is a repeat, as with posts. */
export const decideCreateRoom = (
  room: Room,
  roomId: RoomId,
  by: Actor,
  {name, visibility}: {name: string; visibility: Visibility},
): Decision<RoomEvent> => {
  if (room.kind === 'none') {
    return [{type: 'RoomCreated', data: {roomId, name, visibility, creatorId: by.userId}}, joined(roomId, by, null)]
  }
  return room.name === name && room.visibility === visibility ? [] : refusal({refused: 'IDEMPOTENCY_KEY_REUSED'})
}

/**
 * `userId`: who has claimed the identity, if anybody has. To invite a member, or twice, changes nothing and is no error.
 * What comes of it, the limit too, depends on the names that were given alone, and on what members can see.
 */
export const decideInvite = (
  room: Room,
  by: Actor,
  {named, invitee, userId}: {named: string; invitee: Invitee; userId: string | null},
): Decision<RoomEvent> => {
  if (room.kind === 'none') return refusal({refused: 'NOT_FOUND'})
  if (!isMember(room, by.userId) && !by.isBot) return refusal({refused: 'NOT_A_MEMBER'})
  if (isMember(room, named) || room.invitations.has(named)) return []
  if (room.invitations.size >= MAX_INVITATIONS) return refusal({refused: 'TOO_MANY_INVITATIONS'})
  const isOld = (userId !== null && isMember(room, userId)) || isInvited(room.invitations, invitee)
  const standing = isOld ? 'old' : 'new'
  const data = {roomId: room.roomId, invitee, named, standing, inviterId: by.userId, inviterName: by.username} as const
  return [{type: 'UserInvited', data}]
}

/** Joining uses the invitation up. Bots may join any room. */
export const decideJoin = (room: Room, by: Actor): Decision<RoomEvent> => {
  if (room.kind === 'none') return refusal({refused: 'NOT_FOUND'})
  if (isMember(room, by.userId)) return []
  const invitation = invitationOf(room, by)
  if (room.visibility === 'invite' && invitation === null && !by.isBot) return refusal({refused: 'NOT_INVITED'})
  if (room.members.size >= MAX_MEMBERS) return refusal({refused: 'ROOM_FULL'})
  return [joined(room.roomId, by, invitation)]
}

/** Leaves; an invited person who is no member declines. The last member may leave: the room stays, empty. */
export const decideLeave = (room: Room, by: Actor): Decision<RoomEvent> => {
  if (room.kind === 'none') return refusal({refused: 'NOT_FOUND'})
  const member = room.members.get(by.userId)
  if (member) {
    return [{type: 'UserLeft', data: {roomId: room.roomId, userId: by.userId, username: member.username}}]
  }
  const invitee = invitationOf(room, by)
  if (invitee === null) return refusal({refused: 'NOT_A_MEMBER'})
  return [{type: 'InvitationDeclined', data: {roomId: room.roomId, invitee, userId: by.userId}}]
}
