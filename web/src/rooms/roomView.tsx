import {useEffect, useState} from 'react'
import {ask, type Failure, toFailure} from '../api.ts'
import type {User} from '../contract.ts'
import {openRoomFeed, type RoomFeed} from '../live/roomFeed.ts'
import {loadRooms, myRooms} from '../live/rooms.ts'
import {Link, navigate} from '../router.tsx'
import {useStore} from '../store.ts'
import {Button, Dialog, Empty, FailureNote, Icon, Name, Note, PageTitle} from '../ui/parts.tsx'
import {plural} from '../words.ts'
import {MembersPanel} from './membersPanel.tsx'
import {Composer} from './messageComposer.tsx'
import {MessageList} from './messageList.tsx'
import {roomPath} from './roomList.tsx'

type RoomViewProps = {roomId: string; at: number | null; me: User}

/** `at`: the message that the room is to be opened at. */
export const RoomView = ({roomId, at, me}: RoomViewProps) => {
  const [feed, setFeed] = useState<RoomFeed | null>(null)
  useEffect(() => {
    const opened = openRoomFeed(roomId, me, at)
    setFeed(opened)
    return () => opened.close()
  }, [roomId, me, at])
  return feed && <OpenRoom feed={feed} roomId={roomId} at={at} me={me} />
}

const OpenRoom = ({feed, roomId, at, me}: RoomViewProps & {feed: RoomFeed}) => {
  const {status, failure, room, members} = useStore(feed.state)
  const [showing, setShowing] = useState(false)
  const [leaving, setLeaving] = useState(false)

  if (status === 'failed' && failure) {
    return (
      <div className="room-closed">
        <NotInside failure={failure} roomId={roomId} retry={() => void feed.reload()} />
      </div>
    )
  }
  const panel = room && <MembersPanel feed={feed} me={me} onLeave={() => setLeaving(true)} />
  return (
    <>
      <section className="room" aria-label={room?.name ?? 'Room'}>
        <header className="room-head">
          <Link to="/rooms/" className="icon-button room-back" aria-label="All rooms">
            <Icon name="back" />
          </Link>
          <div className="room-head-text">
            {room ? (
              <PageTitle title={room.name}>
                <bdi>{room.name}</bdi>
              </PageTitle>
            ) : (
              <span className="bone bone-title" aria-hidden="true" />
            )}
            <p className="hint">
              {room && (
                <>
                  <Icon name={room.visibility === 'open' ? 'open' : 'lock'} />
                  {room.visibility === 'open' ? 'Open room' : 'By invitation'}
                </>
              )}
            </p>
          </div>
          {room && (
            <Button look="plain" className="room-members" onClick={() => setShowing(true)} aria-haspopup="dialog">
              <Icon name="people" />
              {plural(room.memberCount, 'member')}
            </Button>
          )}
        </header>
        <MessageList feed={feed} at={at} me={me} />
        <Composer feed={feed} roomId={roomId} me={me} />
      </section>
      <aside className="room-aside" aria-label="Members">
        {panel}
      </aside>
      {showing && (
        <Dialog title={`Members${members.length > 0 ? ` of ${room?.name}` : ''}`} onClose={() => setShowing(false)}>
          {panel}
        </Dialog>
      )}
      {leaving && <Leave roomId={roomId} name={room?.name ?? 'this room'} onClose={() => setLeaving(false)} />}
    </>
  )
}

const NotInside = ({failure, roomId, retry}: {failure: Failure; roomId: string; retry: () => void}) => {
  const [busy, setBusy] = useState(false)
  const [joinFailure, setJoinFailure] = useState<Failure | null>(null)
  const invitation = useStore(myRooms).invitations.find((one) => one.roomId === roomId)
  useEffect(() => {
    if (invitation) setJoinFailure(null)
  }, [invitation])
  const join = async () => {
    setBusy(true)
    setJoinFailure(null)
    try {
      await ask('POST', `/api${roomPath(roomId)}/join`)
      await loadRooms()
      retry()
    } catch (error) {
      setJoinFailure(toFailure(error))
    }
    setBusy(false)
  }
  if (failure.code === 'NOT_A_MEMBER') {
    return (
      <>
        <PageTitle title="Room" className="visually-hidden">
          Room
        </PageTitle>
        <Empty title={invitation ? `You are invited to ${invitation.roomName}` : 'You are not in this room'}>
          <p>
            {invitation ? (
              <>
                <Name>{invitation.invitedBy.username}</Name> invites you. You can come in now.
              </>
            ) : (
              'If it is open, or you have an invitation, you can come in now. Else ask a member to invite you.'
            )}
          </p>
          {joinFailure && (
            <Note tone="bad">
              <p>
                {joinFailure.code === 'NOT_INVITED'
                  ? 'This room is by invitation, and there is none for you yet. Ask a member for one.'
                  : joinFailure.message}
              </p>
            </Note>
          )}
          <Button look="main" busy={busy} onClick={() => void join()}>
            Join this room
          </Button>
          <Link to="/rooms/" className="button button-quiet">
            All rooms
          </Link>
        </Empty>
      </>
    )
  }
  return (
    <>
      <PageTitle title="Room" className="visually-hidden">
        Room
      </PageTitle>
      {failure.code === 'NOT_FOUND' ? (
        <Empty title="There is no such room">
          <p>The address may have been cut off.</p>
          <Link to="/rooms/" className="button button-quiet">
            All rooms
          </Link>
        </Empty>
      ) : (
        <FailureNote failure={failure} retry={retry} />
      )}
    </>
  )
}

const Leave = ({roomId, name, onClose}: {roomId: string; name: string; onClose: () => void}) => {
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  const leave = async () => {
    setBusy(true)
    try {
      await ask('POST', `/api${roomPath(roomId)}/leave`)
      onClose()
      navigate('/rooms/')
      await loadRooms()
    } catch (error) {
      setFailure(toFailure(error))
      setBusy(false)
    }
  }
  return (
    <Dialog title={`Leave ${name}?`} onClose={onClose}>
      <p>You will not see its messages any more. If the room is by invitation, you need a new one to come back.</p>
      {failure && (
        <Note tone="bad">
          <p>{failure.message}</p>
        </Note>
      )}
      <div className="dialog-foot">
        <Button onClick={onClose}>Stay</Button>
        <Button look="danger" busy={busy} onClick={() => void leave()}>
          Leave room
        </Button>
      </div>
    </Dialog>
  )
}
