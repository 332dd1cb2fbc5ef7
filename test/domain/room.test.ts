import fc from 'fast-check'
import {describe, expect, it} from 'vitest'
import {
  decideCreateRoom,
  decideInvite,
  decideJoin,
  decideLeave,
  type Invitee,
  inviteeOf,
  isMember,
  MAX_INVITATIONS,
  MAX_MEMBERS,
  type RoomEvent,
  type RoomId,
} from '../../src/domain/room.ts'
import type {Actor} from '../../src/domain/user.ts'
import {roomFold} from '../../src/streams/streams.ts'
import {bot, identityOf, person, specify} from '../support/specification.ts'

const given = specify(roomFold)
const roomId = 'r-1' as RoomId
const ann = person('Ann')
const bob = person('Bob')
const eve = person('Eve')
const echo = bot('Echo')
const invitee = (name: string) => inviteeOf(identityOf(name))

const created = (visibility: 'invite' | 'open' = 'invite'): RoomEvent => ({
  type: 'RoomCreated',
  data: {roomId, name: 'Lobby', visibility, creatorId: ann.userId},
})
const joined = ({userId, username, isBot}: Actor, invitation: Invitee | null = null): RoomEvent => ({
  type: 'UserJoined',
  data: {roomId, userId, username, isBot, invitation},
})
const left = ({userId, username}: Actor): RoomEvent => ({type: 'UserLeft', data: {roomId, userId, username}})
type Naming = {by?: Actor; named?: string; standing?: 'new' | 'old'}
const invited = (whom: Invitee, {by = ann, named = whom, standing = 'new'}: Naming = {}): RoomEvent => ({
  type: 'UserInvited',
  data: {roomId, invitee: whom, named, standing, inviterId: by.userId, inviterName: by.username},
})
const declined = (by: Actor): RoomEvent => ({
  type: 'InvitationDeclined',
  data: {roomId, invitee: inviteeOf(by.identity!), userId: by.userId},
})

describe('decideCreateRoom', () => {
  const lobby = {name: 'Lobby', visibility: 'invite'} as const

  it('makes the creator the first member', () => {
    given()
      .when((room) => decideCreateRoom(room, roomId, ann, lobby))
      .happens(created(), joined(ann))
  })

  it('takes the same room under the same id for a repeat', () => {
    given(created(), joined(ann), left(ann))
      .when((room) => decideCreateRoom(room, roomId, ann, lobby))
      .changesNothing()
  })

  it('refuses another room under the same id', () => {
    for (const other of [{name: 'Hall'}, {visibility: 'open' as const}]) {
      given(created(), joined(ann))
        .when((room) => decideCreateRoom(room, roomId, ann, {...lobby, ...other}))
        .refuses('IDEMPOTENCY_KEY_REUSED')
    }
  })
})

describe('decideInvite', () => {
  const bobs = {named: identityOf('Bob'), invitee: invitee('Bob'), userId: bob.userId}
  const nobodys = {...bobs, userId: null}
  const bobById = {...bobs, named: bob.userId}

  it('lets a member invite, whether or not anybody has claimed the identity', () => {
    for (const whom of [bobs, nobodys]) {
      given(created(), joined(ann))
        .when((room) => decideInvite(room, ann, whom))
        .happens(invited(invitee('Bob')))
    }
  })

  it('lets a bot invite without being a member', () => {
    given(created(), joined(ann))
      .when((room) => decideInvite(room, echo, bobs))
      .happens(invited(invitee('Bob'), {by: echo}))
  })

  it('refuses whoever is not, or no longer, a member', () => {
    given(created(), joined(ann))
      .when((room) => decideInvite(room, eve, bobs))
      .refuses('NOT_A_MEMBER')
    given(created(), joined(ann), left(ann))
      .when((room) => decideInvite(room, ann, bobs))
      .refuses('NOT_A_MEMBER')
    given(created(), joined(ann), invited(invitee('Eve')))
      .when((room) => decideInvite(room, eve, bobs))
      .refuses('NOT_A_MEMBER')
  })

  it('knows no room that was never made', () => {
    given()
      .when((room) => decideInvite(room, ann, bobs))
      .refuses('NOT_FOUND')
  })

  it('invites nobody twice by the same name, whoever asks', () => {
    given(created('open'), joined(ann), joined(eve), invited(invitee('Bob')))
      .when((room) => decideInvite(room, eve, nobodys))
      .changesNothing()
  })

  it('does not invite a member who is named by the id that all members see', () => {
    given(created(), joined(ann), joined(bob))
      .when((room) => decideInvite(room, ann, bobById))
      .changesNothing()
  })

  it('writes down alike whether a name is new, a member or invited under another name, and invites nobody twice', () => {
    const cases = [[], [joined(bob)], [invited(invitee('Bob'), {named: bob.userId})]]
    for (const [index, before] of cases.entries()) {
      const standing = index === 0 ? 'new' : 'old'
      given(created(), joined(ann), ...before)
        .when((room) => decideInvite(room, ann, bobs))
        .happens(invited(invitee('Bob'), {standing}))
    }
    given(created(), joined(ann), joined(bob), invited(invitee('Bob'), {standing: 'old'}), left(bob))
      .when((room) => decideJoin(room, bob))
      .refuses('NOT_INVITED')
    const twice = [invited(invitee('Bob'), {named: bob.userId}), invited(invitee('Bob'), {standing: 'old'})]
    given(created(), joined(ann), ...twice)
      .when((room) => decideJoin(room, bob))
      .happens(joined(bob, invitee('Bob')))
    given(created(), joined(ann), ...twice, joined(bob, invitee('Bob')), left(bob))
      .when((room) => decideJoin(room, bob))
      .refuses('NOT_INVITED')
  })

  it('counts names towards the limit, so that it does not tell whose they are', () => {
    const all = Array.from({length: MAX_INVITATIONS - 1}, (_, index) => invited(invitee(`guest ${index}`)))
    const almost = given(created(), joined(ann), joined(eve), ...all)
    const eves = {named: identityOf('Eve'), invitee: invitee('Eve'), userId: eve.userId}
    almost.when((room) => decideInvite(room, ann, eves)).happens(invited(invitee('Eve'), {standing: 'old'}))
    for (const last of [invited(invitee('Eve'), {standing: 'old'}), invited(invitee('Bob'), {named: bob.userId})]) {
      given(created(), joined(ann), joined(eve), ...all, last)
        .when((room) => decideInvite(room, ann, bobs))
        .refuses('TOO_MANY_INVITATIONS')
    }
  })

  it('invites again who left, declined, or used an invitation up', () => {
    for (const before of [
      [invited(invitee('Bob')), joined(bob, invitee('Bob')), left(bob)],
      [invited(invitee('Bob')), declined(bob)],
    ]) {
      given(created(), joined(ann), ...before)
        .when((room) => decideInvite(room, ann, bobs))
        .happens(invited(invitee('Bob')))
    }
  })

  it('refuses more open invitations than a room may have; one that was used up or declined is not open', () => {
    const all = Array.from({length: MAX_INVITATIONS}, (_, index) => invited(invitee(`guest ${index}`)))
    const guest = person('guest 7')
    expect(MAX_INVITATIONS).toBe(1_000)
    const full = given(created(), joined(ann), ...all)
    full.when((room) => decideInvite(room, ann, bobs)).refuses('TOO_MANY_INVITATIONS')
    full
      .when((room) => decideInvite(room, ann, {named: invitee('guest 7'), invitee: invitee('guest 7'), userId: null}))
      .changesNothing()
    for (const freed of [declined(guest), joined(guest, invitee('guest 7'))]) {
      given(created(), joined(ann), ...all, freed)
        .when((room) => decideInvite(room, ann, bobs))
        .happens(invited(invitee('Bob')))
    }
  })
})

describe('decideJoin', () => {
  it('lets the invited join, which uses the invitation up', () => {
    given(created(), joined(ann), invited(invitee('Bob')))
      .when((room) => decideJoin(room, bob))
      .happens(joined(bob, invitee('Bob')))
    given(created(), joined(ann), invited(invitee('Bob')), joined(bob, invitee('Bob')), left(bob))
      .when((room) => decideJoin(room, bob))
      .refuses('NOT_INVITED')
  })

  it('refuses whoever was not invited, or declined, or is somebody else', () => {
    given(created(), joined(ann))
      .when((room) => decideJoin(room, bob))
      .refuses('NOT_INVITED')
    given(created(), joined(ann), invited(invitee('Bob')), declined(bob))
      .when((room) => decideJoin(room, bob))
      .refuses('NOT_INVITED')
    given(created(), joined(ann), invited(invitee('Bob')))
      .when((room) => decideJoin(room, eve))
      .refuses('NOT_INVITED')
  })

  it('lets anybody into an open room, and uses up an invitation where there is one', () => {
    given(created('open'), joined(ann))
      .when((room) => decideJoin(room, bob))
      .happens(joined(bob))
    given(created('open'), joined(ann), invited(invitee('Bob')))
      .when((room) => decideJoin(room, bob))
      .happens(joined(bob, invitee('Bob')))
  })

  it('lets a bot into any room', () => {
    given(created(), joined(ann))
      .when((room) => decideJoin(room, echo))
      .happens(joined(echo))
  })

  it('takes a second join by the same person quietly', () => {
    given(created(), joined(ann))
      .when((room) => decideJoin(room, ann))
      .changesNothing()
  })

  it('keeps out even the creator, once they left, unless they are invited', () => {
    given(created(), joined(ann), left(ann))
      .when((room) => decideJoin(room, ann))
      .refuses('NOT_INVITED')
  })

  it('knows no room that was never made', () => {
    given()
      .when((room) => decideJoin(room, bob))
      .refuses('NOT_FOUND')
  })

  it('refuses more members than a room may have; whoever leaves makes room', () => {
    const members = Array.from({length: MAX_MEMBERS - 1}, (_, index) => joined(person(`member ${index}`)))
    expect(MAX_MEMBERS).toBe(10_000)
    const full = given(created('open'), joined(ann), ...members)
    full.when((room) => decideJoin(room, bob)).refuses('ROOM_FULL')
    full.when((room) => decideJoin(room, echo)).refuses('ROOM_FULL')
    full.when((room) => decideJoin(room, person('member 1'))).changesNothing()
    given(created('open'), joined(ann), ...members, left(ann))
      .when((room) => decideJoin(room, bob))
      .happens(joined(bob))
    given(created(), joined(ann), ...members)
      .when((room) => decideJoin(room, eve))
      .refuses('NOT_INVITED')
  })
})

describe('decideLeave', () => {
  it('lets a member leave, under the name that they joined with', () => {
    given(created(), joined(ann), joined(bob))
      .when((room) => decideLeave(room, {...bob, username: 'Robert'}))
      .happens(left(bob))
  })

  it('lets the last member leave', () => {
    given(created(), joined(ann))
      .when((room) => decideLeave(room, ann))
      .happens(left(ann))
  })

  it('is a declined invitation for the invited', () => {
    given(created(), joined(ann), invited(invitee('Bob')))
      .when((room) => decideLeave(room, bob))
      .happens(declined(bob))
  })

  it('refuses whoever is neither in it nor invited', () => {
    for (const before of [[], [joined(bob), left(bob)], [invited(invitee('Bob')), declined(bob)]]) {
      given(created(), joined(ann), ...before)
        .when((room) => decideLeave(room, bob))
        .refuses('NOT_A_MEMBER')
    }
    given(created(), joined(ann))
      .when((room) => decideLeave(room, echo))
      .refuses('NOT_A_MEMBER')
  })

  it('knows no room that was never made', () => {
    given()
      .when((room) => decideLeave(room, ann))
      .refuses('NOT_FOUND')
  })
})

describe('isMember', () => {
  it('is true from joining to leaving', () => {
    const room = (...events: RoomEvent[]) => roomFold.evolve(roomFold.initial, events)
    expect(isMember(room(), ann.userId)).toBe(false)
    expect(isMember(room(created(), joined(ann)), ann.userId)).toBe(true)
    expect(isMember(room(created(), joined(ann), left(ann)), ann.userId)).toBe(false)
  })
})

describe('evolveRoom', () => {
  const people = [ann, bob, eve]
  const anyEvent = fc
    .tuple(fc.constantFrom('invited', 'again', 'joined', 'left', 'declined'), fc.constantFrom(...people))
    .map(([kind, who]): RoomEvent => {
      if (kind === 'invited') return invited(inviteeOf(who.identity!))
      if (kind === 'again') return invited(inviteeOf(who.identity!), {named: who.userId, standing: 'old'})
      if (kind === 'joined') return joined(who, inviteeOf(who.identity!))
      return kind === 'left' ? left(who) : declined(who)
    })

  it('gives the same for a run of events as for each by itself, and leaves the states before as they were', () => {
    fc.assert(
      fc.property(fc.array(anyEvent), fc.array(anyEvent), (before, after) => {
        const first = roomFold.evolve(roomFold.initial, [created(), ...before])
        const copy = structuredClone(first)
        const singly = after.reduce((room, event) => roomFold.evolve(room, [event]), first)
        expect(roomFold.evolve(first, after)).toEqual(singly)
        expect(first).toEqual(copy)
      }),
      {numRuns: 100},
    )
  })
})
