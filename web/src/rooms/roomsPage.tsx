import {type FormEvent, useEffect, useRef, useState} from 'react'
import {SignIn} from '../account/signIn.tsx'
import {ask, type Failure, newKey, nextPage, toFailure} from '../api.ts'
import {type Invitation, LIMITS, length, type Room} from '../contract.ts'
import {loadRooms, myRooms} from '../live/rooms.ts'
import {navigate, usePlace} from '../router.tsx'
import {expectsSession, session} from '../session.ts'
import {useStore} from '../store.ts'
import {Button, Dialog, Empty, FailureNote, Field, Icon, Name, Note, PageTitle, places, When} from '../ui/parts.tsx'
import {plural} from '../words.ts'
import {RoomLine, RoomLineSkeleton, roomPath} from './roomList.tsx'
import {RoomView} from './roomView.tsx'

export const RoomsPage = ({roomId}: {roomId: string | null}) => {
  const now = useStore(session)
  const {status} = useStore(myRooms)
  const asked = new URLSearchParams(usePlace().search).get('at') ?? ''
  const at = /^\d{1,9}$/.test(asked) ? Number(asked) : null
  if (now.status === 'out' || (now.status === 'unknown' && !expectsSession())) {
    return (
      <div className="page page-narrow">
        <PageTitle title="Rooms">Rooms</PageTitle>
        <p className="lead">
          {now.status === 'out' && now.ended
            ? 'Your session has ended. Sign in again, and you are back where you were.'
            : roomId
              ? 'This room is for its members. Sign in, and you are taken there.'
              : 'Rooms are where people talk. Sign in to see yours, or to open one.'}
        </p>
        {now.status === 'out' ? <SignIn /> : <div className="card sign-in bone" aria-hidden="true" />}
      </div>
    )
  }
  return (
    <div className={roomId ? 'rooms has-room' : 'rooms'}>
      <Sidebar roomId={roomId} />
      {roomId && now.status === 'in' ? (
        <RoomView key={`${now.user.id} ${roomId} ${at}`} roomId={roomId} at={at} me={now.user} />
      ) : (
        <div className="rooms-rest">{status !== 'loading' && <OpenRooms />}</div>
      )}
    </div>
  )
}

const Sidebar = ({roomId}: {roomId: string | null}) => {
  const {status, rooms, invitations, failure} = useStore(myRooms)
  const [creating, setCreating] = useState(false)
  useEffect(() => {
    if (roomId === null) void loadRooms()
  }, [roomId])
  return (
    <nav className="rooms-side" aria-label="Rooms">
      <div className="rooms-side-head">
        {roomId ? <h2>Rooms</h2> : <PageTitle title="Rooms">Rooms</PageTitle>}
        <Button onClick={() => setCreating(true)}>
          <Icon name="plus" /> New room
        </Button>
      </div>
      {invitations.map((invitation) => (
        <InvitationCard key={invitation.roomId} invitation={invitation} />
      ))}
      {status === 'failed' && failure && <FailureNote failure={failure} retry={() => void loadRooms()} />}
      {status === 'ready' && rooms.length === 0 && (
        <Empty title="No rooms yet">
          <p>Make a room and invite somebody by email address, or join one that is open.</p>
        </Empty>
      )}
      <ul className="room-list" key={status}>
        {status === 'loading' && places(4).map((at) => <RoomLineSkeleton key={at} />)}
        {rooms.map((room) => (
          <RoomLine key={room.id} room={room} current={room.id === roomId} />
        ))}
      </ul>
      {creating && <NewRoom onClose={() => setCreating(false)} />}
    </nav>
  )
}

const InvitationCard = ({invitation}: {invitation: Invitation}) => {
  const {roomId, roomName, invitedBy, invitedAt} = invitation
  const [busy, setBusy] = useState<'join' | 'leave' | null>(null)
  const [failure, setFailure] = useState<Failure | null>(null)
  const answer = async (how: 'join' | 'leave') => {
    setBusy(how)
    setFailure(null)
    try {
      await ask('POST', `/api/rooms/${encodeURIComponent(roomId)}/${how}`)
      await loadRooms()
      if (how === 'join') navigate(roomPath(roomId))
    } catch (error) {
      setFailure(toFailure(error))
      setBusy(null)
    }
  }
  return (
    <section className="invitation" aria-label={`Invitation to ${roomName}`}>
      <p>
        <Name>{invitedBy.username}</Name> invites you to <Name>{roomName}</Name>
        <span className="hint">
          {' '}
          <When time={invitedAt} />
        </span>
      </p>
      {failure && (
        <Note tone="bad">
          <p>{failure.message}</p>
        </Note>
      )}
      <p className="invitation-foot">
        <Button look="main" busy={busy === 'join'} onClick={() => void answer('join')}>
          Join
        </Button>
        <Button busy={busy === 'leave'} onClick={() => void answer('leave')}>
          Decline
        </Button>
      </p>
    </section>
  )
}

const NewRoom = ({onClose}: {onClose: () => void}) => {
  const [name, setName] = useState('')
  const [visibility, setVisibility] = useState<Room['visibility']>('invite')
  // Where the answer was lost, the same room asked for again is that room.
  const request = useRef({room: '', key: ''})
  const [tried, setTried] = useState(false)
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  const nameError =
    name.trim() === ''
      ? 'Give the room a name.'
      : length(name) > LIMITS.roomName
        ? `At most ${LIMITS.roomName} characters, please.`
        : null
  const create = async (event: FormEvent) => {
    event.preventDefault()
    setTried(true)
    if (busy || nameError) return
    setBusy(true)
    setFailure(null)
    try {
      const room = JSON.stringify([name, visibility])
      if (request.current.room !== room) request.current = {room, key: newKey()}
      const headers = {'idempotency-key': request.current.key}
      const {body} = await ask<{room: Room}>('POST', '/api/rooms', {name, visibility}, {headers})
      await loadRooms()
      onClose()
      navigate(roomPath(body.room.id))
    } catch (error) {
      setFailure(toFailure(error))
      setBusy(false)
    }
  }
  return (
    <Dialog title="New room" onClose={onClose}>
      <form onSubmit={create} noValidate>
        <Field
          label="Name"
          value={name}
          onChange={(event) => setName(event.target.value)}
          error={tried ? nameError : null}
          data-first
          dir="auto"
        />
        <fieldset className="choices">
          <legend>Who may join?</legend>
          <Choice
            name="Whom members invite"
            hint="Nobody else sees that the room is there."
            checked={visibility === 'invite'}
            onChoose={() => setVisibility('invite')}
          />
          <Choice
            name="Everybody"
            hint="The room is listed, and whoever is signed in may come in."
            checked={visibility === 'open'}
            onChoose={() => setVisibility('open')}
          />
        </fieldset>
        {failure && (
          <Note tone="bad">
            <p>{failure.message}</p>
          </Note>
        )}
        <div className="dialog-foot">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="main" busy={busy}>
            Create room
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

const Choice = (choice: {name: string; hint: string; checked: boolean; onChoose: () => void}) => (
  <label className="choice">
    <input type="radio" name="visibility" checked={choice.checked} onChange={choice.onChoose} />
    <span>
      <span className="choice-name">{choice.name}</span>
      <span className="hint">{choice.hint}</span>
    </span>
  </label>
)

const OPEN_PAGE = '/api/rooms?visibility=open&limit=30'

/** Rooms that anybody may join. */
const OpenRooms = () => {
  const [rooms, setRooms] = useState<Room[] | null>(null)
  const [next, setNext] = useState<string | null>(null)
  const [failure, setFailure] = useState<Failure | null>(null)
  const [joining, setJoining] = useState<string | null>(null)
  const mine = new Set(useStore(myRooms).rooms.map(({id}) => id))

  const load = async (page: string) => {
    setFailure(null)
    try {
      const {body, headers} = await ask<{rooms: Room[]}>('GET', page)
      setRooms((now) => (page === OPEN_PAGE ? body.rooms : [...(now ?? []), ...body.rooms]))
      setNext(nextPage(headers))
    } catch (error) {
      setFailure(toFailure(error))
    }
  }
  // biome-ignore lint/correctness/useExhaustiveDependencies: once
  useEffect(() => {
    void load(OPEN_PAGE)
  }, [])

  const join = async (room: Room) => {
    setJoining(room.id)
    try {
      await ask('POST', `/api/rooms/${encodeURIComponent(room.id)}/join`)
      await loadRooms()
      navigate(roomPath(room.id))
    } catch (error) {
      setFailure(toFailure(error))
      setJoining(null)
    }
  }

  const shown = rooms?.filter(({id}) => !mine.has(id))
  return (
    <section className="open-rooms" aria-labelledby="open-rooms">
      <h2 id="open-rooms">Open rooms</h2>
      <p className="hint">Anybody may join these.</p>
      {failure && <FailureNote failure={failure} retry={() => void load(OPEN_PAGE)} />}
      {shown?.length === 0 && !next && (
        <p className="rooms-none">There is no other open room right now. Yours could be the first.</p>
      )}
      <ul className="open-list">
        {!rooms &&
          !failure &&
          places(3).map((at) => (
            <li key={at} className="open-room" aria-hidden="true">
              <span className="bone bone-title" />
            </li>
          ))}
        {shown?.map((room) => (
          <li key={room.id} className="open-room">
            <span>
              <Name>{room.name}</Name>
              <span className="hint">{plural(room.memberCount, 'member')}</span>
            </span>
            <Button busy={joining === room.id} aria-label={`Join ${room.name}`} onClick={() => void join(room)}>
              Join
            </Button>
          </li>
        ))}
      </ul>
      {next && <Button onClick={() => void load(next)}>Show more</Button>}
    </section>
  )
}
